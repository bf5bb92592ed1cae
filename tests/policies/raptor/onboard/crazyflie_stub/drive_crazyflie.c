/* SPDX-License-Identifier: Apache-2.0
 *
 * Flat functions through which a test drives policies/raptor/onboard/crazyflie.
 */
#include "crazyflie_stub.h"

static uint64_t now_us;

int cf_start(void);
int cf_tick(uint32_t step, const float *position, const float *q, const float *velocity, const float *gyro_deg,
            const float *reference, const float *reference_velocity, float yaw_deg, int absolute, float *motors);

void vTaskDelay(uint32_t ticks)
{
    (void)ticks;
}

uint64_t usecTimestamp(void)
{
    return now_us;
}

void controllerPidInit(void)
{
}

bool controllerPidTest(void)
{
    return true;
}

void controllerPid(control_t *control, const setpoint_t *setpoint, const sensorData_t *sensors, const state_t *state,
                   const stabilizerStep_t stabilizerStep)
{
    (void)setpoint;
    (void)sensors;
    (void)state;
    (void)stabilizerStep;
    control->controlMode = controlModeLegacy;
}

int cf_start(void)
{
    controllerOutOfTreeInit();
    return controllerOutOfTreeTest() ? 1 : 0;
}

/* One tick of the 1 kHz loop; 1 when RAPTOR wrote the motors. */
int cf_tick(uint32_t step, const float *position, const float *q, const float *velocity, const float *gyro_deg,
            const float *reference, const float *reference_velocity, float yaw_deg, int absolute, float *motors)
{
    static control_t control;
    const stab_mode_t mode = absolute ? modeAbs : modeVelocity;
    const setpoint_t setpoint = {
        .attitude = {.yaw = yaw_deg},
        .position = {.x = reference[0], .y = reference[1], .z = reference[2]},
        .velocity = {.x = reference_velocity[0], .y = reference_velocity[1], .z = reference_velocity[2]},
        .mode = {.x = mode, .y = mode, .z = mode, .yaw = modeAbs},
    };
    const sensorData_t sensors = {.gyro = {gyro_deg[0], gyro_deg[1], gyro_deg[2]}};
    const state_t state = {
        .attitudeQuaternion = {.w = q[0], .x = q[1], .y = q[2], .z = q[3]},
        .position = {.x = position[0], .y = position[1], .z = position[2]},
        .velocity = {.x = velocity[0], .y = velocity[1], .z = velocity[2]},
    };
    now_us = 1000u * (uint64_t)step;
    controllerOutOfTree(&control, &setpoint, &sensors, &state, step);
    for (int i = 0; i < STABILIZER_NR_OF_MOTORS; i++) {
        motors[i] = control.normalizedForces[i];
    }
    return control.controlMode == controlModeForce ? 1 : 0;
}
