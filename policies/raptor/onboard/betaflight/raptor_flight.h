/* SPDX-License-Identifier: Apache-2.0
 *
 * RAPTOR for flight controllers that know their attitude but not their place: position and velocity come from
 * outside, late and at 50 to 100 Hz; this file makes them current, decides whether RAPTOR may have the motors, and
 * runs it. It knows no firmware: sensors go in, an action comes out. The messages are defined in raptor_msp.h.
 *
 * A pose is compared with the estimate of the moment at which it was captured, not of the moment at which it
 * arrived; what lies in between is integrated from accelerometer and attitude. A late pose therefore costs nothing
 * as long as its stamp is right, which is why the messages carry one.
 */
#ifndef RAPTOR_FLIGHT_H
#define RAPTOR_FLIGHT_H

#include "raptor_msp.h"
#include "raptor_policy.h"

/* The past that a late pose may be compared with: 64 samples, 4 ms apart. */
#define RAPTOR_PAST_SAMPLES 64u
#define RAPTOR_PAST_STEP_US 4000u

/* How old a pose and a reference may be; the latter is then held for a while, in the place of the moment. */
#define RAPTOR_POSE_TIMEOUT_US 100000u
#define RAPTOR_REFERENCE_TIMEOUT_US 200000u
#define RAPTOR_REFERENCE_HOLD_US 1000000u
/* Older poses are not worth comparing. */
#define RAPTOR_POSE_OLDEST_US 200000u
/* A stamp may lie this far in the future, by the clocks' disagreement. */
#define RAPTOR_POSE_AHEAD_US 5000u
/* How many poses in a row make RAPTOR trust the feed. */
#define RAPTOR_POSES_TO_START 5u

/* What the flight controller measures itself, once a rate loop. */
typedef struct {
    uint64_t now_us;           /* any epoch, never backwards */
    float orientation[4];      /* quaternion (w, x, y, z), body to a frame with z up and any heading */
    float angular_velocity[3]; /* body, rad/s */
    float specific_force[3];   /* what the accelerometer feels, body, m/s2: +9.81 along z at rest */
    float specific_force_delay_s; /* by which the accelerometer's filter is late */
    bool has_accelerometer;    /* false: velocity is held between poses */
    bool repeats;              /* the sensors repeat a sample for some ticks, as a simulator's do... */
    bool is_new;               /* ... and this tick is the first with a new one */
    bool switch_on;            /* a person wants RAPTOR */
    bool armed;
    bool failsafe; /* somebody else has the motors */
} raptor_sensors;

typedef struct {
    uint64_t time_us;
    float position[3];
    float velocity[3];
    float orientation[4]; /* the flight controller's own */
} raptor_sample;

typedef struct {
    /* Where the vehicle is. */
    raptor_sample now;
    raptor_sample past[RAPTOR_PAST_SAMPLES];
    float acceleration[3]; /* world, in the last tick */
    uint32_t past_next;
    uint32_t past_count;
    bool located; /* `now` holds a position */
    /* From the flight controller's heading to the world's: a rotation about z by a quaternion (w, 0, 0, z). */
    float yaw_w;
    float yaw_z;
    bool yaw_aligned;
    uint32_t tilt_disagreements; /* poses in a row */
    /* What arrived. */
    uint64_t pose_us; /* capture of the newest pose */
    uint64_t reference_us;
    raptor_reference reference;
    raptor_reference held;
    bool has_pose;
    bool has_reference;
    bool holding;
    uint32_t poses_in_row;
    /* Who flies. */
    raptor_flight_state state;
    raptor_flight_reason reason;
    raptor_flight_reason handback_reason;
    raptor_state policy;
    raptor_config config;
    uint32_t ticks; /* one evaluation every so many ticks */
    uint32_t tick;  /* since the last one */
    float action[RAPTOR_ACTION_SIZE];
    bool self_test_ok;
    bool has_now;
    /* Counted. */
    uint32_t activations;
    uint32_t handbacks;
    uint32_t feeds_taken;
    uint32_t feeds_refused;
    uint64_t second_us; /* when the running second began */
    uint32_t steps_at_second;
    uint32_t natives_at_second;
    uint32_t feeds_at_second;
    uint32_t latency_us; /* longest of the running second */
    uint16_t step_hz;
    uint16_t native_hz;
    uint16_t feed_hz;
    uint32_t pose_latency_us;
} raptor_flight;

/* Begin; runs the policy's self-test. tick_us: nominal period of the rate loop. The network is evaluated every
 * `ticks` of them, together at most 10 ms; in between, the last action stands. Where sensors repeat, the evaluation
 * waits for a new sample, or is an eighth early for one, so that each is answered at once. */
void raptor_flight_init(raptor_flight *flight, uint32_t tick_us, uint32_t ticks);

/* Take an MSP2_RAPTOR_FEED and write its answer, RAPTOR_FEED_ANSWER_SIZE bytes. False, and nothing taken or written:
 * the payload has another length or version. */
bool raptor_flight_feed(raptor_flight *flight, uint64_t now_us, const uint8_t *payload, uint32_t size,
                        uint8_t *answer);

/* Write the answer to an MSP2_RAPTOR_STATUS, RAPTOR_STATUS_SIZE bytes. */
void raptor_flight_status(const raptor_flight *flight, uint64_t now_us, uint8_t *answer);

/* One tick of the rate loop. True: RAPTOR flies, and `action` (-1 to 1, RAPTOR's motor order) goes to the motors;
 * false: the flight controller's own control flies. */
bool raptor_flight_update(raptor_flight *flight, const raptor_sensors *sensors, float action[RAPTOR_ACTION_SIZE]);

#endif
