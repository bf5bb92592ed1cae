/* SPDX-License-Identifier: Apache-2.0
 *
 * See raptor_flight.h.
 */
#include "raptor_flight.h"

#include <math.h>
#include <string.h>

#define GRAVITY 9.80665f
/* How much of a pose's difference is taken over: poses are exact but for noise, the integral drifts. */
#define POSITION_GAIN 0.7f
#define VELOCITY_GAIN 0.5f
#define YAW_GAIN 0.05f
/* A pose further from where the vehicle should be is taken for another object's. */
#define LARGEST_JUMP_M 1.0f
/* Sine of half of 20 degrees: the tilts of feed and flight controller may differ by that much... */
#define LARGEST_HALF_TILT 0.17365f
/* ... in fewer than so many poses in a row. */
#define TILT_DISAGREEMENTS 10u
/* A longer gap between two ticks cannot be integrated. */
#define LARGEST_GAP_US 100000u
/* How far ahead a reference's velocity is believed. */
#define REFERENCE_AHEAD_US 100000u

/* ---- Bytes --------------------------------------------------------------------------------------------- */

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static void get_floats(const uint8_t *from, float *to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t bits = get_u32(from + 4u * i);
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static void put_u16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

static void put_u32(uint8_t *to, uint32_t value)
{
    put_u16(to, value & 0xFFFFu);
    put_u16(to + 2, value >> 16);
}

static void put_floats(uint8_t *to, const float *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        put_u32(to + 4u * i, bits);
    }
}

/* ---- Quaternions --------------------------------------------------------------------------------------- */

static bool is_unit(const float q[4])
{
    const float squared = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
    return squared > 0.98f && squared < 1.02f;
}

/* The flight controller's attitude in the world: turned by the yaw offset. */
static void world_orientation(const raptor_flight *flight, const float q[4], float out[4])
{
    const float w = flight->yaw_w;
    const float z = flight->yaw_z;
    out[0] = w * q[0] - z * q[3];
    out[1] = w * q[1] - z * q[2];
    out[2] = w * q[2] + z * q[1];
    out[3] = w * q[3] + z * q[0];
}

/* ---- The estimate -------------------------------------------------------------------------------------- */

static const raptor_sample *past_sample(const raptor_flight *flight, uint32_t back)
{
    return &flight->past[(flight->past_next + RAPTOR_PAST_SAMPLES - 1u - back) % RAPTOR_PAST_SAMPLES];
}

static void remember(raptor_flight *flight)
{
    flight->past[flight->past_next] = flight->now;
    flight->past_next = (flight->past_next + 1u) % RAPTOR_PAST_SAMPLES;
    flight->past_count += flight->past_count < RAPTOR_PAST_SAMPLES ? 1u : 0u;
}

static void blend(const float *a, const float *b, float share, uint32_t count, float *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = a[i] + share * (b[i] - a[i]);
    }
}

/* The estimate of a moment, between the two samples around it; the oldest there is, if the moment lies before it. */
static void recall(const raptor_flight *flight, uint64_t time_us, raptor_sample *out)
{
    const raptor_sample *later = &flight->now;
    for (uint32_t back = 0; time_us < later->time_us && back < flight->past_count; back++) {
        const raptor_sample *earlier = past_sample(flight, back);
        if (earlier->time_us <= time_us) {
            const float share = (float)(uint32_t)(time_us - earlier->time_us) /
                                (float)(uint32_t)(later->time_us - earlier->time_us);
            blend(earlier->position, later->position, share, 3, out->position);
            blend(earlier->velocity, later->velocity, share, 3, out->velocity);
            /* Samples are 4 ms apart: a chord is as good as an arc, and never the long way round. */
            blend(earlier->orientation, later->orientation, share, 4, out->orientation);
            return;
        }
        later = earlier;
    }
    *out = *later;
}

static void integrate(raptor_flight *flight, const raptor_sensors *sensors)
{
    raptor_sample *now = &flight->now;
    float acceleration[3] = {0.0f, 0.0f, 0.0f};
    const uint64_t gap_us = sensors->now_us - now->time_us;
    memcpy(now->orientation, sensors->orientation, sizeof now->orientation);
    now->time_us = sensors->now_us;
    if (gap_us > LARGEST_GAP_US) {
        flight->located = false;
        flight->past_count = 0u;
        return;
    }
    if (sensors->has_accelerometer) {
        float orientation[4];
        world_orientation(flight, sensors->orientation, orientation);
        raptor_body_to_world(orientation, sensors->specific_force, acceleration);
        acceleration[2] -= GRAVITY;
    }
    const float dt = 1e-6f * (float)(uint32_t)gap_us;
    /* Without a place only the last moments' changes count, for the first pose to be added to: forget the rest. */
    const float kept = flight->located ? 1.0f : 1.0f - dt;
    for (uint32_t i = 0; i < 3; i++) {
        now->position[i] = kept * now->position[i] + dt * (now->velocity[i] + 0.5f * dt * acceleration[i]);
        /* What a late acceleration has not told yet is what it changes by, times how late it is. */
        now->velocity[i] = kept * now->velocity[i] + dt * acceleration[i] +
                           sensors->specific_force_delay_s * (acceleration[i] - flight->acceleration[i]);
    }
    memcpy(flight->acceleration, acceleration, sizeof acceleration);
    if (flight->past_count == 0u || now->time_us - past_sample(flight, 0u)->time_us >= RAPTOR_PAST_STEP_US) {
        remember(flight);
    }
}

static void shift(raptor_sample *sample, const float position[3], const float velocity[3], uint64_t from_us)
{
    const float dt = sample->time_us > from_us ? 1e-6f * (float)(uint32_t)(sample->time_us - from_us) : 0.0f;
    for (uint32_t i = 0; i < 3; i++) {
        sample->position[i] += position[i] + dt * velocity[i];
        sample->velocity[i] += velocity[i];
    }
}

/* Move the estimate, and the past with it, towards a pose; all the way if none was known. False: the pose is too far
 * off to be the vehicle's. */
static bool locate(raptor_flight *flight, uint64_t captured_us, const float position[3], const float velocity[3])
{
    float by_position[3];
    float by_velocity[3];
    float squared = 0.0f;
    raptor_sample then;
    recall(flight, captured_us, &then);
    for (uint32_t i = 0; i < 3; i++) {
        by_position[i] = position[i] - then.position[i];
        by_velocity[i] = velocity[i] - then.velocity[i];
        squared += by_position[i] * by_position[i];
    }
    const bool near = squared <= LARGEST_JUMP_M * LARGEST_JUMP_M;
    if (flight->located && !near && flight->state == RAPTOR_FLIGHT_FLYING) {
        return false;
    }
    for (uint32_t i = 0; i < 3; i++) {
        by_position[i] *= flight->located && near ? POSITION_GAIN : 1.0f;
        by_velocity[i] *= flight->located && near ? VELOCITY_GAIN : 1.0f;
    }
    shift(&flight->now, by_position, by_velocity, captured_us);
    for (uint32_t i = 0; i < flight->past_count; i++) {
        shift(&flight->past[(flight->past_next + RAPTOR_PAST_SAMPLES - 1u - i) % RAPTOR_PAST_SAMPLES], by_position,
              by_velocity, captured_us);
    }
    flight->located = true;
    return true;
}

/* Learn the world's heading from a pose's attitude, and see whether both agree on where up is. */
static void align(raptor_flight *flight, uint64_t captured_us, const float world[4])
{
    raptor_sample then;
    recall(flight, captured_us, &then);
    const float *own = then.orientation;
    /* world times the inverse of own: a rotation about z, if both agree on where up is. */
    float w = world[0] * own[0] + world[1] * own[1] + world[2] * own[2] + world[3] * own[3];
    const float x = -world[0] * own[1] + world[1] * own[0] - world[2] * own[3] + world[3] * own[2];
    const float y = -world[0] * own[2] + world[2] * own[0] - world[3] * own[1] + world[1] * own[3];
    float z = -world[0] * own[3] + world[3] * own[0] - world[1] * own[2] + world[2] * own[1];
    if (x * x + y * y > LARGEST_HALF_TILT * LARGEST_HALF_TILT) {
        flight->tilt_disagreements++;
        return;
    }
    flight->tilt_disagreements = 0u;
    if (w * flight->yaw_w + z * flight->yaw_z < 0.0f) {
        w = -w;
        z = -z;
    }
    const float gain = flight->yaw_aligned ? YAW_GAIN : 1.0f;
    w = flight->yaw_w + gain * (w - flight->yaw_w);
    z = flight->yaw_z + gain * (z - flight->yaw_z);
    const float length = sqrtf(w * w + z * z);
    if (length > 0.5f) {
        flight->yaw_w = w / length;
        flight->yaw_z = z / length;
        flight->yaw_aligned = true;
    }
}

/* ---- Messages ------------------------------------------------------------------------------------------ */

typedef struct {
    float position[3];
    float velocity[3];
    float orientation[4];
    raptor_reference reference;
} feed_values;

static raptor_feed_verdict take_pose(raptor_flight *flight, uint64_t now_us, uint32_t stamp, uint32_t flags,
                                     const feed_values *values)
{
    /* A stamp's distance from now, modulo 2^32, either way; an age is never negative. */
    const int32_t since = (int32_t)((uint32_t)now_us - stamp);
    const int64_t age_us = (flags & RAPTOR_FEED_STAMPED) != 0u ? (int64_t)since : (int64_t)stamp;
    if (age_us < -(int64_t)RAPTOR_POSE_AHEAD_US) {
        return RAPTOR_VERDICT_POSE_AHEAD;
    }
    if (age_us > (int64_t)RAPTOR_POSE_OLDEST_US || age_us > (int64_t)now_us) {
        return RAPTOR_VERDICT_POSE_OLD;
    }
    const uint32_t latency_us = age_us > 0 ? (uint32_t)age_us : 0u;
    const uint64_t captured_us = now_us - latency_us;
    if (flight->has_pose && captured_us <= flight->pose_us) {
        return RAPTOR_VERDICT_POSE_REPEATED;
    }
    if (!locate(flight, captured_us, values->position, values->velocity)) {
        return RAPTOR_VERDICT_POSE_JUMPED;
    }
    if ((flags & RAPTOR_FEED_ORIENTATION) != 0u) {
        align(flight, captured_us, values->orientation);
    }
    if (flight->has_pose && captured_us - flight->pose_us > RAPTOR_POSE_TIMEOUT_US) {
        flight->poses_in_row = 0u;
    }
    flight->poses_in_row += flight->poses_in_row < RAPTOR_POSES_TO_START ? 1u : 0u;
    flight->pose_us = captured_us;
    flight->has_pose = true;
    flight->latency_us = latency_us > flight->latency_us ? latency_us : flight->latency_us;
    return RAPTOR_VERDICT_TAKEN;
}

static raptor_feed_verdict take(raptor_flight *flight, uint64_t now_us, const uint8_t *payload)
{
    const uint32_t flags = payload[1];
    feed_values values;
    get_floats(payload + 8, values.position, 3);
    get_floats(payload + 20, values.velocity, 3);
    get_floats(payload + 32, values.orientation, 4);
    get_floats(payload + 48, values.reference.position, 3);
    get_floats(payload + 60, values.reference.linear_velocity, 3);
    get_floats(payload + 72, &values.reference.yaw, 1);
    const bool pose = (flags & RAPTOR_FEED_POSE) != 0u;
    const bool orientation = pose && (flags & RAPTOR_FEED_ORIENTATION) != 0u;
    const bool reference = (flags & RAPTOR_FEED_REFERENCE) != 0u;
    if (!pose && !reference) {
        return RAPTOR_VERDICT_EMPTY;
    }
    if ((pose && !(raptor_all_finite(values.position, 3) && raptor_all_finite(values.velocity, 3))) ||
        (orientation && !raptor_all_finite(values.orientation, 4)) ||
        (reference &&
         !(raptor_all_finite(values.reference.position, 3) &&
           raptor_all_finite(values.reference.linear_velocity, 3) && raptor_all_finite(&values.reference.yaw, 1)))) {
        return RAPTOR_VERDICT_NOT_FINITE;
    }
    if (orientation && !is_unit(values.orientation)) {
        return RAPTOR_VERDICT_NOT_UNIT;
    }
    if (reference) {
        flight->reference = values.reference;
        flight->reference_us = now_us;
        flight->has_reference = true;
    }
    return pose ? take_pose(flight, now_us, get_u32(payload + 4), flags, &values) : RAPTOR_VERDICT_TAKEN;
}

bool raptor_flight_feed(raptor_flight *flight, uint64_t now_us, const uint8_t *payload, uint32_t size,
                        uint8_t *answer)
{
    if (size != RAPTOR_FEED_SIZE || payload[0] != RAPTOR_MSP_VERSION) {
        return false;
    }
    const raptor_feed_verdict verdict = take(flight, now_us, payload);
    if (verdict == RAPTOR_VERDICT_TAKEN) {
        flight->feeds_taken++;
    } else {
        flight->feeds_refused++;
    }
    answer[0] = RAPTOR_MSP_VERSION;
    answer[1] = (uint8_t)flight->state;
    answer[2] = (uint8_t)flight->reason;
    answer[3] = (uint8_t)verdict;
    answer[4] = payload[2];
    answer[5] = payload[3];
    put_u32(answer + 6, (uint32_t)now_us);
    return true;
}

static uint32_t age_of(bool known, uint64_t now_us, uint64_t then_us)
{
    const uint64_t age_us = now_us > then_us ? now_us - then_us : 0u;
    return known && age_us < UINT32_MAX ? (uint32_t)age_us : UINT32_MAX;
}

/* Value of a hexadecimal digit. */
static uint8_t digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void raptor_flight_status(const raptor_flight *flight, uint64_t now_us, uint8_t *answer)
{
    const bool timing_ok = flight->policy.native_timing.ok && flight->policy.call_timing.ok;
    const float yaw_offset = 2.0f * atan2f(flight->yaw_z, flight->yaw_w);
    uint32_t flags = flight->self_test_ok ? RAPTOR_STATUS_SELF_TEST_OK : 0u;
    flags |= timing_ok ? RAPTOR_STATUS_TIMING_OK : 0u;
    flags |= flight->holding ? RAPTOR_STATUS_HOLDING : 0u;
    flags |= flight->yaw_aligned ? RAPTOR_STATUS_YAW_ALIGNED : 0u;
    answer[0] = RAPTOR_MSP_VERSION;
    answer[1] = (uint8_t)flight->state;
    answer[2] = (uint8_t)flight->reason;
    answer[3] = (uint8_t)flight->handback_reason;
    put_u32(answer + 4, (uint32_t)now_us);
    put_u32(answer + 8, flight->activations);
    put_u32(answer + 12, flight->handbacks);
    put_u32(answer + 16, flight->policy.native_steps);
    put_u32(answer + 20, flight->policy.intermediate_steps);
    put_u32(answer + 24, flight->feeds_taken);
    put_u32(answer + 28, flight->feeds_refused);
    put_u16(answer + 32, flight->step_hz);
    put_u16(answer + 34, flight->native_hz);
    put_u16(answer + 36, flight->feed_hz);
    put_u16(answer + 38, flags);
    put_u32(answer + 40, age_of(flight->has_pose, now_us, flight->pose_us));
    put_u32(answer + 44, age_of(flight->has_reference, now_us, flight->reference_us));
    put_u32(answer + 48, flight->pose_latency_us);
    put_floats(answer + 52, flight->now.position, 3);
    put_floats(answer + 64, flight->now.velocity, 3);
    put_floats(answer + 76, &yaw_offset, 1);
    put_floats(answer + 80, flight->action, RAPTOR_ACTION_SIZE);
    for (uint32_t i = 0; i < 8; i++) {
        static const char sha256[] = RAPTOR_POLICY_SHA256;
        answer[96 + i] = (uint8_t)((digit(sha256[2 * i]) << 4) | digit(sha256[2 * i + 1]));
    }
}

/* ---- Who flies ----------------------------------------------------------------------------------------- */

void raptor_flight_init(raptor_flight *flight, uint32_t tick_us, uint32_t ticks)
{
    const uint32_t every = ticks < 1u ? 1u : ticks;
    memset(flight, 0, sizeof *flight);
    flight->yaw_w = 1.0f;
    flight->now.orientation[0] = 1.0f;
    flight->ticks = every;
    flight->config = raptor_config_by_time(tick_us > 10000u / every ? 10000000u : 1000u * tick_us * every);
    flight->self_test_ok = raptor_self_test() <= RAPTOR_TOLERANCE;
    flight->reason = RAPTOR_REASON_SWITCH_OFF;
    raptor_reset(&flight->policy);
}

/* Why RAPTOR may not fly now. */
static raptor_flight_reason blocker(const raptor_flight *flight, const raptor_sensors *sensors)
{
    if (!sensors->switch_on) {
        return RAPTOR_REASON_SWITCH_OFF;
    }
    if (!sensors->armed) {
        return RAPTOR_REASON_DISARMED;
    }
    if (sensors->failsafe) {
        return RAPTOR_REASON_FAILSAFE;
    }
    if (!flight->self_test_ok) {
        return RAPTOR_REASON_SELF_TEST;
    }
    if (!flight->has_pose) {
        return RAPTOR_REASON_NO_POSE;
    }
    const bool starting = flight->state != RAPTOR_FLIGHT_FLYING;
    if (!flight->located || age_of(true, sensors->now_us, flight->pose_us) > RAPTOR_POSE_TIMEOUT_US ||
        (starting && flight->poses_in_row < RAPTOR_POSES_TO_START)) {
        return RAPTOR_REASON_POSE_STALE;
    }
    if (flight->tilt_disagreements >= TILT_DISAGREEMENTS) {
        return RAPTOR_REASON_ATTITUDE_DISAGREES;
    }
    if (!flight->has_reference) {
        return RAPTOR_REASON_NO_REFERENCE;
    }
    const uint32_t patience_us = RAPTOR_REFERENCE_TIMEOUT_US + (starting ? 0u : RAPTOR_REFERENCE_HOLD_US);
    if (age_of(true, sensors->now_us, flight->reference_us) > patience_us) {
        return RAPTOR_REASON_REFERENCE_STALE;
    }
    return RAPTOR_REASON_NONE;
}

/* These mean that something is wrong with the vehicle, not with the link. */
static bool locks(raptor_flight_reason reason)
{
    return reason == RAPTOR_REASON_NOT_FINITE || reason == RAPTOR_REASON_ATTITUDE_DISAGREES ||
           reason == RAPTOR_REASON_OUTPUT_NOT_FINITE;
}

static void stop(raptor_flight *flight, raptor_flight_reason reason)
{
    if (flight->state == RAPTOR_FLIGHT_FLYING) {
        if (reason != RAPTOR_REASON_SWITCH_OFF && reason != RAPTOR_REASON_DISARMED) {
            flight->handbacks++;
            flight->handback_reason = reason;
            /* After a gap in the feed, its next poses have to prove themselves again. */
            flight->poses_in_row = 0u;
        }
        flight->state = locks(reason) ? RAPTOR_FLIGHT_LOCKED : RAPTOR_FLIGHT_WAITING;
        flight->reason = reason;
    }
    if (reason == RAPTOR_REASON_SWITCH_OFF) {
        flight->state = RAPTOR_FLIGHT_OFF;
        flight->reason = reason;
    } else if (flight->state != RAPTOR_FLIGHT_LOCKED) {
        flight->state = RAPTOR_FLIGHT_WAITING;
        flight->reason = reason;
    }
    flight->holding = false;
    memset(flight->action, 0, sizeof flight->action);
}

/* What to track now: the reference carried on at its velocity or, once it is stale, the place of that moment. */
static void current_reference(raptor_flight *flight, uint64_t now_us, raptor_reference *out)
{
    const uint32_t age_us = age_of(true, now_us, flight->reference_us);
    if (age_us > RAPTOR_REFERENCE_TIMEOUT_US) {
        if (!flight->holding) {
            memset(&flight->held, 0, sizeof flight->held);
            memcpy(flight->held.position, flight->now.position, sizeof flight->held.position);
            flight->held.yaw = flight->reference.yaw;
            flight->holding = true;
        }
        *out = flight->held;
        return;
    }
    flight->holding = false;
    *out = flight->reference;
    const float ahead = 1e-6f * (float)(age_us < REFERENCE_AHEAD_US ? age_us : REFERENCE_AHEAD_US);
    for (uint32_t i = 0; i < 3; i++) {
        out->position[i] += ahead * out->linear_velocity[i];
    }
}

static void count_second(raptor_flight *flight, uint64_t now_us)
{
    const uint32_t steps = flight->policy.native_steps + flight->policy.intermediate_steps;
    if (now_us - flight->second_us < 1000000u) {
        return;
    }
    flight->step_hz = (uint16_t)(steps - flight->steps_at_second);
    flight->native_hz = (uint16_t)(flight->policy.native_steps - flight->natives_at_second);
    flight->feed_hz = (uint16_t)(flight->feeds_taken - flight->feeds_at_second);
    flight->pose_latency_us = flight->latency_us;
    flight->latency_us = 0u;
    flight->steps_at_second = steps;
    flight->natives_at_second = flight->policy.native_steps;
    flight->feeds_at_second = flight->feeds_taken;
    flight->second_us = now_us;
}

static void start(raptor_flight *flight)
{
    raptor_reset(&flight->policy);
    flight->steps_at_second = 0u;
    flight->natives_at_second = 0u;
    flight->activations++;
    flight->state = RAPTOR_FLIGHT_FLYING;
    flight->reason = RAPTOR_REASON_NONE;
    flight->tick = 2u * flight->ticks;
}

/* Whether the network is evaluated in this tick. */
static bool is_due(const raptor_flight *flight, const raptor_sensors *sensors)
{
    if (!sensors->repeats) {
        return flight->tick >= flight->ticks;
    }
    return (sensors->is_new && 8u * flight->tick >= 7u * flight->ticks) || 2u * flight->tick >= 3u * flight->ticks;
}

bool raptor_flight_update(raptor_flight *flight, const raptor_sensors *sensors, float action[RAPTOR_ACTION_SIZE])
{
    raptor_vehicle vehicle;
    raptor_reference reference;
    float observation[RAPTOR_OBSERVATION_SIZE];
    const uint64_t now_us = sensors->now_us;
    if (!raptor_all_finite(sensors->orientation, 4) || !is_unit(sensors->orientation) ||
        !raptor_all_finite(sensors->angular_velocity, 3) || !raptor_all_finite(sensors->specific_force, 3) ||
        !raptor_all_finite(&sensors->specific_force_delay_s, 1)) {
        stop(flight, sensors->switch_on ? RAPTOR_REASON_NOT_FINITE : RAPTOR_REASON_SWITCH_OFF);
        return false;
    }
    if (flight->has_now && now_us < flight->now.time_us) {
        /* Nothing that was stamped before means anything any more. */
        flight->located = flight->has_pose = flight->has_reference = flight->has_now = false;
        flight->past_count = 0u;
        flight->poses_in_row = 0u;
        flight->second_us = now_us;
        stop(flight, sensors->switch_on ? RAPTOR_REASON_CLOCK : RAPTOR_REASON_SWITCH_OFF);
        return false;
    }
    if (!flight->has_now) {
        flight->now.time_us = flight->second_us = now_us;
        flight->has_now = true;
    }
    integrate(flight, sensors);
    count_second(flight, now_us);
    const raptor_flight_reason blocked = blocker(flight, sensors);
    if (blocked != RAPTOR_REASON_NONE) {
        stop(flight, blocked);
        return false;
    }
    if (flight->state == RAPTOR_FLIGHT_LOCKED) {
        return false;
    }
    if (flight->state != RAPTOR_FLIGHT_FLYING) {
        start(flight);
    }
    if (is_due(flight, sensors)) {
        flight->tick = 0u;
        memcpy(vehicle.position, flight->now.position, sizeof vehicle.position);
        memcpy(vehicle.linear_velocity, flight->now.velocity, sizeof vehicle.linear_velocity);
        memcpy(vehicle.angular_velocity, sensors->angular_velocity, sizeof vehicle.angular_velocity);
        world_orientation(flight, sensors->orientation, vehicle.orientation);
        current_reference(flight, now_us, &reference);
        const raptor_status seen = raptor_observe(&vehicle, &reference, observation);
        const raptor_status status = seen != RAPTOR_OK
                                         ? seen
                                         : raptor_control(&flight->policy, &flight->config, 1000u * now_us,
                                                          observation, flight->action, flight->action);
        if (status < RAPTOR_OK) {
            stop(flight, status == RAPTOR_OUTPUT_NOT_FINITE ? RAPTOR_REASON_OUTPUT_NOT_FINITE
                                                            : RAPTOR_REASON_NOT_FINITE);
            return false;
        }
    }
    flight->tick++;
    memcpy(action, flight->action, sizeof flight->action);
    return true;
}
