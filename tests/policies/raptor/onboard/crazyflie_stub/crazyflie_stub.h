/* SPDX-License-Identifier: Apache-2.0
 *
 * As much of the Crazyflie firmware's interfaces as policies/raptor/onboard/crazyflie uses: names, fields and types
 * as the firmware has them.
 */
#ifndef CRAZYFLIE_STUB_H
#define CRAZYFLIE_STUB_H

#include <stdbool.h>
#include <stdint.h>

#define STABILIZER_NR_OF_MOTORS 4
#define RATE_MAIN_LOOP 1000
#define RATE_500_HZ 500
#define RATE_DO_EXECUTE(RATE_HZ, TICK) ((TICK % (RATE_MAIN_LOOP / RATE_HZ)) == 0)
#define M2T(MILLISECONDS) (MILLISECONDS)

typedef uint32_t stabilizerStep_t;
typedef struct { float x, y, z; } Axis3f;
typedef struct { uint32_t timestamp; float x, y, z; } point_t;
typedef point_t velocity_t;
typedef struct { uint32_t timestamp; float roll, pitch, yaw; } attitude_t;
typedef struct { uint32_t timestamp; float x, y, z, w; } quaternion_t;
typedef struct { Axis3f acc, gyro; uint64_t interruptTimestamp; } sensorData_t;
typedef struct { attitude_t attitude; quaternion_t attitudeQuaternion; point_t position; velocity_t velocity; } state_t;
typedef enum { controlModeLegacy = 0, controlModeForceTorque = 1, controlModeForce = 2 } control_mode_t;
typedef struct {
    float normalizedForces[STABILIZER_NR_OF_MOTORS];
    control_mode_t controlMode;
} control_t;
typedef enum { modeDisable = 0, modeAbs, modeVelocity } stab_mode_t;
typedef struct {
    attitude_t attitude;
    point_t position;
    velocity_t velocity;
    struct { stab_mode_t x, y, z, roll, pitch, yaw, quat; } mode;
} setpoint_t;

void vTaskDelay(uint32_t ticks);
uint64_t usecTimestamp(void);
void appMain(void);
void controllerOutOfTreeInit(void);
bool controllerOutOfTreeTest(void);
void controllerOutOfTree(control_t *control, const setpoint_t *setpoint, const sensorData_t *sensors,
                         const state_t *state, const stabilizerStep_t stabilizerStep);
void controllerPidInit(void);
bool controllerPidTest(void);
void controllerPid(control_t *control, const setpoint_t *setpoint, const sensorData_t *sensors, const state_t *state,
                   const stabilizerStep_t stabilizerStep);

/* The logging macros make tables of addresses. */
#define LOG_UINT8 0
#define LOG_UINT32 1
#define LOG_GROUP_START(NAME) \
    extern const void *const stub_log_##NAME[]; \
    const void *const stub_log_##NAME[] = {
#define LOG_ADD(TYPE, NAME, ADDRESS) (const void *)(ADDRESS),
#define LOG_GROUP_STOP(NAME) 0};

#endif
