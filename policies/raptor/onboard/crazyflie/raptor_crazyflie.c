/* SPDX-License-Identifier: GPL-3.0-only
 *
 * RAPTOR as an out-of-tree controller of the Crazyflie firmware, whose licence (GPL-3.0) is therefore its own.
 * Not run on hardware here: compiled and driven against the firmware's interfaces in a test.
 *
 * Build it as an app (see the firmware's examples/app_out_of_tree_controller) together with raptor_policy.c, with
 * CONFIG_CONTROLLER_OOT=y. Set CONFIG_ENABLE_THRUST_BAT_COMPENSATED=n: the policy commands motor speed, and the
 * firmware's correction from thrust to voltage would be applied to it a second time. Choose it with the parameter
 * stabilizer.controller (the out-of-tree type).
 *
 * RAPTOR flies while the set-point holds an absolute position on all three axes; whatever else the commander asks
 * for (velocity or attitude set-points, and the level-out after its own 500 ms watchdog) the firmware's PID flies.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "app.h"
#include "FreeRTOS.h"
#include "task.h"

#include "controller.h"
#include "controller_pid.h"
#include "log.h"
#include "stabilizer_types.h"
#include "usec_time.h"

#include "raptor_policy.h"

#define DEGREES_TO_RADIANS 0.0174532925f
/* One evaluation; the loop runs at 1 kHz, of which RAPTOR_RATE_HZ is a whole share. */
#define STEP_NS (1000000000u / RAPTOR_RATE_HZ)

static raptor_state policy;
static raptor_config config;
static float action[RAPTOR_ACTION_SIZE];
static bool is_flying;
static uint8_t last_status;
static uint32_t refusals;

void appMain(void)
{
    for (;;) {
        vTaskDelay(M2T(1000));
    }
}

void controllerOutOfTreeInit(void)
{
    controllerPidInit();
    config = raptor_config_by_count(STEP_NS);
    is_flying = false;
    raptor_reset(&policy);
}

bool controllerOutOfTreeTest(void)
{
    /* The Crazyflie's own motors, seen from above: M1 front right, then clockwise; M1 turns counter-clockwise. */
    static const raptor_motor motors[RAPTOR_ACTION_SIZE] = {
        {1.0f, -1.0f, -1.0f}, {-1.0f, -1.0f, 1.0f}, {-1.0f, 1.0f, -1.0f}, {1.0f, 1.0f, 1.0f}};
    return controllerPidTest() && raptor_self_test() <= RAPTOR_TOLERANCE &&
           raptor_motor_order_ok(motors, RAPTOR_ORDER_CRAZYFLIE);
}

static bool wants_position(const setpoint_t *setpoint)
{
    return setpoint->mode.x == modeAbs && setpoint->mode.y == modeAbs && setpoint->mode.z == modeAbs;
}

static raptor_status evaluate(const setpoint_t *setpoint, const sensorData_t *sensors, const state_t *state)
{
    const quaternion_t *q = &state->attitudeQuaternion;
    const raptor_vehicle vehicle = {
        .position = {state->position.x, state->position.y, state->position.z},
        .orientation = {q->w, q->x, q->y, q->z},
        .linear_velocity = {state->velocity.x, state->velocity.y, state->velocity.z},
        .angular_velocity = {DEGREES_TO_RADIANS * sensors->gyro.x, DEGREES_TO_RADIANS * sensors->gyro.y,
                             DEGREES_TO_RADIANS * sensors->gyro.z},
    };
    const raptor_reference reference = {
        .position = {setpoint->position.x, setpoint->position.y, setpoint->position.z},
        .linear_velocity = {setpoint->velocity.x, setpoint->velocity.y, setpoint->velocity.z},
        .yaw = setpoint->mode.yaw == modeAbs ? DEGREES_TO_RADIANS * setpoint->attitude.yaw : 0.0f,
    };
    float observation[RAPTOR_OBSERVATION_SIZE];
    const raptor_status seen = raptor_observe(&vehicle, &reference, observation);
    if (seen != RAPTOR_OK) {
        return seen;
    }
    return raptor_control(&policy, &config, 1000u * usecTimestamp(), observation, action, action);
}

void controllerOutOfTree(control_t *control, const setpoint_t *setpoint, const sensorData_t *sensors,
                         const state_t *state, const stabilizerStep_t stabilizerStep)
{
    if (wants_position(setpoint)) {
        if (!is_flying) {
            raptor_reset(&policy);
            memset(action, 0, sizeof action);
        }
        if (!is_flying || RATE_DO_EXECUTE(RAPTOR_RATE_HZ, stabilizerStep)) {
            const raptor_status status = evaluate(setpoint, sensors, state);
            last_status = (uint8_t)status;
            is_flying = status >= RAPTOR_OK;
            refusals += is_flying ? 0u : 1u;
        }
    } else {
        is_flying = false;
    }
    if (!is_flying) {
        controllerPid(control, setpoint, sensors, state, stabilizerStep);
        return;
    }
    control->controlMode = controlModeForce;
    for (int i = 0; i < RAPTOR_ACTION_SIZE; i++) {
        control->normalizedForces[i] = raptor_effort(action[i]);
    }
}

LOG_GROUP_START(raptor)
LOG_ADD(LOG_UINT8, flying, &is_flying)
LOG_ADD(LOG_UINT8, status, &last_status)
LOG_ADD(LOG_UINT32, refusals, &refusals)
LOG_ADD(LOG_UINT32, native, &policy.native_steps)
LOG_GROUP_STOP(raptor)
