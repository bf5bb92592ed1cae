/* SPDX-License-Identifier: Apache-2.0
 *
 * The two MSP2 messages between a companion and RAPTOR inside a flight controller. This header is the
 * definition; every field is little-endian, packed, at the offset named below. Floats are IEEE 754 binary32.
 *
 * World: z up, metres, the tracker's own axes. Body: forward, left, up. Quaternions: (w, x, y, z), body to
 * world. Times: microseconds of the flight controller's clock, modulo 2^32.
 *
 * MSP2_RAPTOR_FEED, request, 76 bytes: a pose from outside and what to track.
 *
 *   offset  type    field
 *        0  u8      version               RAPTOR_MSP_VERSION
 *        1  u8      flags                 RAPTOR_FEED_*
 *        2  u16     sequence              any; the answer repeats it
 *        4  u32     stamp                 when the pose was captured: a time of the flight controller's clock
 *                                         with RAPTOR_FEED_STAMPED, else the pose's age in microseconds when
 *                                         the message arrives, as far as the sender knows it
 *        8  f32[3]  position              world, m
 *       20  f32[3]  linear_velocity       world, m/s
 *       32  f32[4]  orientation           ignored without RAPTOR_FEED_ORIENTATION
 *       48  f32[3]  reference_position    world, m
 *       60  f32[3]  reference_velocity    world, m/s
 *       72  f32     reference_yaw         world, rad
 *
 * A sender learns the clock from the answers: `clock` is when the message was handled. Half the shortest round
 * trip of the last seconds bounds the error, so that a slow or jittering link costs nothing but bandwidth.
 *
 * Its answer, 10 bytes (an MSP error instead when length or version is not this):
 *
 *        0  u8      version
 *        1  u8      state                 raptor_flight_state
 *        2  u8      reason                raptor_flight_reason: why it does not fly, 0 when it does
 *        3  u8      verdict               raptor_feed_verdict: 0 when all of the message was taken
 *        4  u16     sequence
 *        6  u32     clock                 us, when the message was handled
 *
 * MSP2_RAPTOR_STATUS, request, empty. Its answer, 104 bytes:
 *
 *        0  u8      version
 *        1  u8      state
 *        2  u8      reason
 *        3  u8      handback_reason       why control was last handed back, 0 if it never was
 *        4  u32     clock                 us
 *        8  u32     activations           how often RAPTOR took the motors
 *       12  u32     handbacks             how often it gave them back for any reason but the switch or disarming
 *       16  u32     native_steps          advances of the hidden state since the last activation
 *       20  u32     intermediate_steps    evaluations in between, since the last activation
 *       24  u32     feeds_taken           messages
 *       28  u32     feeds_refused         messages with a verdict other than 0
 *       32  u16     step_hz               evaluations in the last full second
 *       34  u16     native_hz             advances of the hidden state in the last full second
 *       36  u16     feed_hz               messages taken in the last full second
 *       38  u16     flags                 RAPTOR_STATUS_*
 *       40  u32     pose_age              us since the newest pose was captured; 2^32 - 1: none yet
 *       44  u32     reference_age         us since the newest reference arrived; 2^32 - 1: none yet
 *       48  u32     pose_latency          us from capture to arrival, the longest of the last full second
 *       52  f32[3]  position              estimate now, world, m
 *       64  f32[3]  linear_velocity       estimate now, world, m/s
 *       76  f32     yaw_offset            world heading minus the flight controller's own, rad
 *       80  f32[4]  action                last action, -1 to 1: front right, back right, back left, front left
 *       96  u8[8]   checkpoint            first eight bytes of the SHA-256 of the policy's weights
 */
#ifndef RAPTOR_MSP_H
#define RAPTOR_MSP_H

/* Message ids: above every range that Betaflight (0x1000, 0x3000) and INAV (0x2000) use, and below 0x8000,
 * because the firmware keeps ids in signed 16 bits. */
#define MSP2_RAPTOR_FEED 0x7E01
#define MSP2_RAPTOR_STATUS 0x7E02

#define RAPTOR_MSP_VERSION 1

#define RAPTOR_FEED_SIZE 76
#define RAPTOR_FEED_ANSWER_SIZE 10
#define RAPTOR_STATUS_SIZE 104

/* flags of MSP2_RAPTOR_FEED */
#define RAPTOR_FEED_POSE 0x01u        /* stamp, position and linear_velocity hold a pose */
#define RAPTOR_FEED_ORIENTATION 0x02u /* orientation holds the pose's attitude */
#define RAPTOR_FEED_REFERENCE 0x04u   /* the three reference fields hold a reference */
#define RAPTOR_FEED_STAMPED 0x08u     /* stamp is a time of the flight controller's clock, not an age */

/* flags of MSP2_RAPTOR_STATUS */
#define RAPTOR_STATUS_SELF_TEST_OK 0x0001u   /* the stored example was reproduced at start-up */
#define RAPTOR_STATUS_TIMING_OK 0x0002u      /* steps came evenly and at the right rate */
#define RAPTOR_STATUS_HOLDING 0x0004u        /* the reference is stale; RAPTOR holds the place where it became so */
#define RAPTOR_STATUS_YAW_ALIGNED 0x0008u    /* yaw_offset was measured, from orientations in the feed */

typedef enum {
    RAPTOR_FLIGHT_OFF = 0,     /* the switch is off */
    RAPTOR_FLIGHT_WAITING = 1, /* the switch is on; reason says what is missing; flies as soon as it is there */
    RAPTOR_FLIGHT_FLYING = 2,  /* RAPTOR commands the motors */
    RAPTOR_FLIGHT_LOCKED = 3   /* handed back for a reason that needs a person: switch off and on again */
} raptor_flight_state;

typedef enum {
    RAPTOR_REASON_NONE = 0,
    RAPTOR_REASON_SWITCH_OFF = 1,
    RAPTOR_REASON_DISARMED = 2,
    RAPTOR_REASON_FAILSAFE = 3,            /* the firmware's own failsafe acts, or another mode has the motors */
    RAPTOR_REASON_SELF_TEST = 4,           /* the policy does not reproduce its stored example on this processor */
    RAPTOR_REASON_NO_POSE = 5,             /* none yet */
    RAPTOR_REASON_POSE_STALE = 6,          /* none captured within 100 ms */
    RAPTOR_REASON_NO_REFERENCE = 7,        /* none yet */
    RAPTOR_REASON_REFERENCE_STALE = 8,     /* none for 200 ms, and the hold of 1 s is over */
    RAPTOR_REASON_NOT_FINITE = 9,          /* gyro, attitude or accelerometer hold a NaN or an infinity (locks) */
    RAPTOR_REASON_ATTITUDE_DISAGREES = 10, /* the feed's tilt is not the flight controller's (locks) */
    RAPTOR_REASON_OUTPUT_NOT_FINITE = 11,  /* the network's output (locks) */
    RAPTOR_REASON_CLOCK = 12               /* the clock went backwards */
} raptor_flight_reason;

typedef enum {
    RAPTOR_VERDICT_TAKEN = 0,
    RAPTOR_VERDICT_NOT_FINITE = 1,     /* a flagged field is NaN or infinite: nothing of the message was taken */
    RAPTOR_VERDICT_NOT_UNIT = 2,       /* the orientation is no unit quaternion: nothing was taken */
    RAPTOR_VERDICT_POSE_OLD = 3,       /* captured more than 200 ms ago; the reference was taken */
    RAPTOR_VERDICT_POSE_REPEATED = 4,  /* not newer than the last pose; the reference was taken */
    RAPTOR_VERDICT_POSE_AHEAD = 5,     /* captured in the future: the sender's clock is off; reference taken */
    RAPTOR_VERDICT_POSE_JUMPED = 6,    /* more than 1 m from where it should be, while flying; reference taken */
    RAPTOR_VERDICT_EMPTY = 7           /* neither a pose nor a reference */
} raptor_feed_verdict;

#endif
