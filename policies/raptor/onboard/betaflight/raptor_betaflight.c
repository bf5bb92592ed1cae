/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * RAPTOR inside Betaflight 4.6. Because this file is linked with Betaflight's own (GPL-3.0-or-later), so is it.
 *
 * Nothing of the firmware is changed. The linker leads two of its functions through here:
 *
 *     -Wl,--wrap=writeMotors -Wl,--wrap=mspFcProcessCommand
 *
 * so that every rate loop, right before the motors are written, RAPTOR may put its own efforts in the mixer's place,
 * and that two more MSP messages (raptor_msp.h) are understood. The firmware must be linked without link-time
 * optimisation, which would inline what is to be wrapped.
 *
 * RAPTOR has the motors while the mode USER1 is on (permanent id 40; on any AUX channel), the vehicle is armed, no
 * failsafe of the firmware acts, and pose and reference are fresh. At any other moment the firmware flies as ever,
 * from its own sticks and modes; its integrators are held at zero meanwhile, so that it takes over without a jump.
 */
#include <string.h>

#include "platform.h"

#include "common/axis.h"
#include "common/maths.h"
#include "drivers/dshot.h"
#include "drivers/motor.h"
#include "drivers/time.h"
#include "fc/core.h"
#include "fc/rc_modes.h"
#include "fc/runtime_config.h"
#include "flight/failsafe.h"
#include "flight/imu.h"
#include "flight/mixer.h"
#include "flight/mixer_init.h"
#include "flight/pid.h"
#include "msp/msp.h"
#include "sensors/acceleration.h"
#include "sensors/gyro.h"

#include "raptor_flight.h"

#ifndef RAPTOR_BOX
#define RAPTOR_BOX BOXUSER1
#endif
void __real_writeMotors(void);
void __wrap_writeMotors(void);
mspResult_e __real_mspFcProcessCommand(mspDescriptor_t source, mspPacket_t *command, mspPacket_t *reply,
                                       mspPostProcessFnPtr *post);
mspResult_e __wrap_mspFcProcessCommand(mspDescriptor_t source, mspPacket_t *command, mspPacket_t *reply,
                                       mspPostProcessFnPtr *post);

static raptor_flight flight;
static bool is_ready;
static bool has_motors;

/* The firmware's microseconds, without their wrap every 71 minutes. */
static uint64_t now_us(void)
{
    static uint32_t last;
    static uint64_t wraps;
    const uint32_t now = micros();
    wraps += now < last ? 1u : 0u;
    last = now;
    return (wraps << 32) | now;
}

static void get_ready(void)
{
    if (!is_ready) {
        const uint32_t loop_us = pidGetDT() > 0.0f ? (uint32_t)(1e6f * pidGetDT() + 0.5f) : 125u;
        raptor_flight_init(&flight, loop_us, 1000000u / RAPTOR_RATE_HZ / loop_us);
        is_ready = true;
    }
}

/* The simulator target's sensors have no noise, repeat a state for many rounds, and their motors answer it in the
 * first of these: the firmware's filters have then seen it once. Real ones are filtered and never repeat. */
#ifdef SIMULATOR_BUILD
#define SENSORS_REPEAT true

static const float *rates(void)
{
    return gyro.gyroADC;
}

/* The gyro is read after the attitude was set, so that where it has changed, both have. */
static bool is_new(void)
{
    static float last[XYZ_AXIS_COUNT];
    const bool differs = memcmp(last, gyro.gyroADC, sizeof last) != 0;
    memcpy(last, gyro.gyroADC, sizeof last);
    return differs;
}
#else
#define SENSORS_REPEAT false

static const float *rates(void)
{
    return gyro.gyroADCf;
}

static bool is_new(void)
{
    return false;
}
#endif

static void sense(raptor_sensors *sensors)
{
    quaternion_t attitude;
    getQuaternion(&attitude);
    sensors->repeats = SENSORS_REPEAT;
    sensors->is_new = is_new();
    sensors->now_us = now_us();
    sensors->orientation[0] = attitude.w;
    sensors->orientation[1] = attitude.x;
    sensors->orientation[2] = attitude.y;
    sensors->orientation[3] = attitude.z;
    sensors->has_accelerometer = acc.isAccelUpdatedAtLeastOnce;
    for (int axis = 0; axis < XYZ_AXIS_COUNT; axis++) {
        sensors->angular_velocity[axis] = DEGREES_TO_RADIANS(rates()[axis]);
        sensors->specific_force[axis] =
            sensors->has_accelerometer ? 9.80665f * acc.accADC.v[axis] * acc.dev.acc_1G_rec : 0.0f;
    }
    /* Two first-order low passes in series, each with its cutoff raised so that both together have the one that is
     * set; late by their two time constants. */
    const uint16_t cutoff_hz = accelerometerConfig()->acc_lpf_hz;
    sensors->specific_force_delay_s = cutoff_hz > 0 ? 2.0f / (2.0f * M_PIf * 1.553774f * cutoff_hz) : 0.0f;
    sensors->switch_on = IS_RC_MODE_ACTIVE(RAPTOR_BOX);
    sensors->armed = ARMING_FLAG(ARMED);
    sensors->failsafe = failsafeIsActive() || isCrashFlipModeActive() || mixerRuntime.motorCount != RAPTOR_ACTION_SIZE;
}

void __wrap_writeMotors(void)
{
    raptor_sensors sensors;
    float action[RAPTOR_ACTION_SIZE];
    float ordered[RAPTOR_ACTION_SIZE];
    get_ready();
    sense(&sensors);
    const bool flies = raptor_flight_update(&flight, &sensors, action);
    if (flies) {
        /* DShot's values below its minimum are commands, not speeds. */
        const float low = isMotorProtocolDshot() ? (float)DSHOT_MIN_THROTTLE : mixerRuntime.disarmMotorOutput;
        const float range = mixerRuntime.motorOutputHigh - low;
        raptor_remap(action, RAPTOR_ORDER_BETAFLIGHT, ordered);
        for (int i = 0; i < RAPTOR_ACTION_SIZE; i++) {
            motor[i] = low + range * raptor_effort(ordered[i]);
        }
        pidResetIterm();
    }
#ifdef USE_RUNAWAY_TAKEOFF
    if (flies != has_motors) {
        /* It judges the sums of a controller that does not fly. */
        runawayTakeoffTemporaryDisable(flies);
    }
#endif
    has_motors = flies;
    __real_writeMotors();
}

mspResult_e __wrap_mspFcProcessCommand(mspDescriptor_t source, mspPacket_t *command, mspPacket_t *reply,
                                       mspPostProcessFnPtr *post)
{
    uint8_t answer[RAPTOR_STATUS_SIZE];
    uint32_t size = 0u;
    if (command->cmd != MSP2_RAPTOR_FEED && command->cmd != MSP2_RAPTOR_STATUS) {
        return __real_mspFcProcessCommand(source, command, reply, post);
    }
    get_ready();
    if (command->cmd == MSP2_RAPTOR_STATUS) {
        raptor_flight_status(&flight, now_us(), answer);
        size = RAPTOR_STATUS_SIZE;
    } else if (raptor_flight_feed(&flight, now_us(), sbufConstPtr(&command->buf),
                                  (uint32_t)sbufBytesRemaining(&command->buf), answer)) {
        size = RAPTOR_FEED_ANSWER_SIZE;
    }
    sbufWriteData(&reply->buf, answer, (int)size);
    reply->cmd = command->cmd;
    reply->result = size != 0u ? MSP_RESULT_ACK : MSP_RESULT_ERROR;
    return (mspResult_e)reply->result;
}
