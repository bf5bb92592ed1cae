/* SPDX-License-Identifier: Apache-2.0
 *
 * See raptor_policy.h.
 *
 * @GENERATED provenance@
 */
#include "raptor_policy.h"

#include <math.h>
#include <string.h>

#define OBSERVATION RAPTOR_OBSERVATION_SIZE
#define ENCODER RAPTOR_ENCODER_SIZE
#define HIDDEN RAPTOR_HIDDEN_SIZE
#define ACTION RAPTOR_ACTION_SIZE
#if RAPTOR_ENCODER_SIZE % 4 || RAPTOR_HIDDEN_SIZE % 4
#error "the layers are computed four rows at a time"
#endif
/* Elements of an observation in front of the action applied before. */
#define MEASURED (OBSERVATION - ACTION)
/* A quaternion whose squared length is further from 1 is no attitude. */
#define QUATERNION_TOLERANCE 0.02f
/* The largest yaw, rad, that the reduction below takes to the nearest quarter turn without loss. */
#define LARGEST_YAW 10000.0f

/* @GENERATED tables@ */

const uint8_t RAPTOR_ORDER_CRAZYFLIE[ACTION] = {RAPTOR_FRONT_RIGHT, RAPTOR_BACK_RIGHT, RAPTOR_BACK_LEFT,
                                                RAPTOR_FRONT_LEFT};
const uint8_t RAPTOR_ORDER_BETAFLIGHT[ACTION] = {RAPTOR_BACK_RIGHT, RAPTOR_FRONT_RIGHT, RAPTOR_BACK_LEFT,
                                                 RAPTOR_FRONT_LEFT};
const uint8_t RAPTOR_ORDER_PX4[ACTION] = {RAPTOR_FRONT_RIGHT, RAPTOR_BACK_LEFT, RAPTOR_FRONT_LEFT,
                                          RAPTOR_BACK_RIGHT};

const uint32_t RAPTOR_TIMEOUT_NS[RAPTOR_SOURCES] = {10000000u, 100000000u, 50000000u, 200000000u};

bool raptor_all_finite(const float *numbers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &numbers[i], sizeof bits);
        /* By its bits: a comparison may be optimised away where the compiler was told that no NaN exists. */
        if ((bits & 0x7F800000u) == 0x7F800000u) {
            return false;
        }
    }
    return true;
}

static float clamp(float value, float bound)
{
    if (value > bound) {
        return bound;
    }
    return value < -bound ? -bound : value;
}

/* ---- The network --------------------------------------------------------------------------------------- */

static float sigmoid(float x)
{
    /* Where the exponential overflows, its inverse is 0, as it should be. */
    return 1.0f / (1.0f + expf(-x));
}

/* out = weight in + bias, for `rows` rows of `columns` weights; four rows at a time, because every element of `in` is
 * then loaded once for four products. */
static void affine(const float *weight, const float *bias, const float *in, uint32_t rows, uint32_t columns,
                   float *out)
{
    for (uint32_t row = 0; row < rows; row += 4u) {
        float sum0 = bias[row];
        float sum1 = bias[row + 1u];
        float sum2 = bias[row + 2u];
        float sum3 = bias[row + 3u];
        for (uint32_t column = 0; column < columns; column++) {
            const float x = in[column];
            sum0 += weight[column] * x;
            sum1 += weight[columns + column] * x;
            sum2 += weight[2u * columns + column] * x;
            sum3 += weight[3u * columns + column] * x;
        }
        out[row] = sum0;
        out[row + 1u] = sum1;
        out[row + 2u] = sum2;
        out[row + 3u] = sum3;
        weight += 4u * columns;
    }
}

void raptor_evaluate(const float hidden[HIDDEN], const float observation[OBSERVATION], float next_hidden[HIDDEN],
                     float action[ACTION])
{
    float encoded[ENCODER];
    float from_input[3 * HIDDEN];
    float from_hidden[3 * HIDDEN];
    affine(&encoder_weight[0][0], encoder_bias, observation, ENCODER, OBSERVATION, encoded);
    for (uint32_t i = 0; i < ENCODER; i++) {
        encoded[i] = encoded[i] > 0.0f ? encoded[i] : 0.0f;
    }
    affine(&gru_input_weight[0][0], gru_input_bias, encoded, 3 * HIDDEN, ENCODER, from_input);
    affine(&gru_hidden_weight[0][0], gru_hidden_bias, hidden, 3 * HIDDEN, HIDDEN, from_hidden);
    for (uint32_t i = 0; i < HIDDEN; i++) {
        const float reset = sigmoid(from_input[i] + from_hidden[i]);
        const float update = sigmoid(from_input[HIDDEN + i] + from_hidden[HIDDEN + i]);
        const float candidate = tanhf(from_input[2 * HIDDEN + i] + reset * from_hidden[2 * HIDDEN + i]);
        next_hidden[i] = update * hidden[i] + (1.0f - update) * candidate;
    }
    affine(&head_weight[0][0], head_bias, next_hidden, ACTION, HIDDEN, action);
}

static float largest_difference(const float *a, const float *b, uint32_t count, float largest)
{
    if (!raptor_all_finite(a, count)) {
        return INFINITY;
    }
    for (uint32_t i = 0; i < count; i++) {
        const float difference = fabsf(a[i] - b[i]);
        largest = difference > largest ? difference : largest;
    }
    return largest;
}

float raptor_self_test(void)
{
    static const float hover[OBSERVATION] = {[3] = 1.0f, [7] = 1.0f, [11] = 1.0f};
    float hidden[HIDDEN];
    float action[ACTION];
    float largest = 0.0f;
    memcpy(hidden, initial_hidden, sizeof hidden);
    for (uint32_t step = 0; step < SELF_TEST_STEPS; step++) {
        raptor_evaluate(hidden, hover, hidden, action);
        largest = largest_difference(action, hover_action[step], ACTION, largest);
    }
    memcpy(hidden, initial_hidden, sizeof hidden);
    for (uint32_t step = 0; step < SELF_TEST_STEPS; step++) {
        raptor_evaluate(hidden, example_observation[step], hidden, action);
        largest = largest_difference(action, example_action[step], ACTION, largest);
    }
    return largest;
}

/* ---- The executor -------------------------------------------------------------------------------------- */

static raptor_config config_of(uint32_t call_interval_ns)
{
    raptor_config config = {.native_interval_ns = 10000000u};
    config.call_interval_ns = call_interval_ns == 0u ? 1u : call_interval_ns;
    if (config.call_interval_ns > config.native_interval_ns) {
        config.call_interval_ns = config.native_interval_ns;
    }
    return config;
}

raptor_config raptor_config_by_count(uint32_t call_interval_ns)
{
    raptor_config config = config_of(call_interval_ns);
    config.period = config.native_interval_ns / config.call_interval_ns;
    config.call_interval_ns = config.native_interval_ns / config.period;
    return config;
}

raptor_config raptor_config_by_time(uint32_t call_interval_ns)
{
    raptor_config config = config_of(call_interval_ns);
    config.native_slack_ns = config.call_interval_ns / 2u;
    return config;
}

static void timing_reset(raptor_timing *timing)
{
    memset(timing, 0, sizeof *timing);
    timing->min_ratio = timing->mean_ratio = timing->max_ratio = 1.0f;
    timing->ok = true;
}

static void timing_add(raptor_timing *timing, uint64_t interval_ns, uint32_t nominal_ns)
{
    const uint32_t interval = interval_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)interval_ns;
    timing->min_ns = timing->count == 0u || interval < timing->min_ns ? interval : timing->min_ns;
    timing->max_ns = timing->count == 0u || interval > timing->max_ns ? interval : timing->max_ns;
    timing->sum_ns += (float)interval;
    timing->count++;
    if (timing->count == RAPTOR_TIMING_WINDOW) {
        const float nominal = (float)nominal_ns;
        timing->min_ratio = (float)timing->min_ns / nominal;
        timing->max_ratio = (float)timing->max_ns / nominal;
        timing->mean_ratio = timing->sum_ns / ((float)RAPTOR_TIMING_WINDOW * nominal);
        /* The mean lies between the two. */
        timing->ok = timing->min_ratio >= 0.8f && timing->max_ratio <= 1.2f;
        timing->sum_ns = 0.0f;
        timing->count = 0u;
    }
}

void raptor_reset(raptor_state *state)
{
    memset(state, 0, sizeof *state);
    memcpy(state->hidden, initial_hidden, sizeof state->hidden);
    timing_reset(&state->native_timing);
    timing_reset(&state->call_timing);
}

/* Evaluate, check and clamp. On RAPTOR_OUTPUT_NOT_FINITE nothing is written. */
static raptor_status evaluate_checked(const float hidden[HIDDEN], const float observation[OBSERVATION],
                                      float next_hidden[HIDDEN], float action[ACTION])
{
    float next[HIDDEN];
    float raw[ACTION];
    raptor_evaluate(hidden, observation, next, raw);
    if (!raptor_all_finite(raw, ACTION) || !raptor_all_finite(next, HIDDEN)) {
        return RAPTOR_OUTPUT_NOT_FINITE;
    }
    memcpy(next_hidden, next, sizeof next);
    for (uint32_t i = 0; i < ACTION; i++) {
        action[i] = clamp(raw[i], 1.0f);
    }
    return RAPTOR_OK;
}

raptor_status raptor_step(raptor_state *state, const float observation[OBSERVATION], float action[ACTION])
{
    state->last_step = RAPTOR_STEP_NONE;
    if (!raptor_all_finite(observation, OBSERVATION)) {
        return RAPTOR_INPUT_NOT_FINITE;
    }
    const raptor_status status = evaluate_checked(state->hidden, observation, state->hidden, action);
    if (status != RAPTOR_OK) {
        raptor_reset(state);
        return status;
    }
    state->native_steps++;
    state->last_step = RAPTOR_STEP_NATIVE;
    return RAPTOR_OK;
}

raptor_status raptor_step_intermediate(const raptor_state *state, const float observation[OBSERVATION],
                                       float action[ACTION])
{
    float discarded[HIDDEN];
    if (!raptor_all_finite(observation, OBSERVATION)) {
        return RAPTOR_INPUT_NOT_FINITE;
    }
    return evaluate_checked(state->hidden, observation, discarded, action);
}

static void average(raptor_state *state, const float applied[ACTION])
{
    const float count = (float)state->averaged;
    for (uint32_t i = 0; i < ACTION; i++) {
        state->mean_action[i] = (state->mean_action[i] * count + applied[i]) / (count + 1.0f);
    }
    state->averaged++;
}

static bool is_native(const raptor_state *state, const raptor_config *config, uint64_t now_ns)
{
    if (config->period != 0u) {
        return state->phase == 0u;
    }
    return !state->has_native ||
           now_ns - state->last_native_ns >= config->native_interval_ns - config->native_slack_ns;
}

raptor_status raptor_control(raptor_state *state, const raptor_config *config, uint64_t now_ns,
                             const float observation[OBSERVATION], const float applied[ACTION], float action[ACTION])
{
    float input[OBSERVATION];
    float next_hidden[HIDDEN];
    state->last_step = RAPTOR_STEP_NONE;
    if (!raptor_all_finite(observation, MEASURED) || !raptor_all_finite(applied, ACTION)) {
        return RAPTOR_INPUT_NOT_FINITE;
    }
    average(state, applied);
    if (state->has_call && now_ns < state->last_call_ns) {
        /* No interval across the jump is measured, and a native step is due by time at once. */
        state->last_call_ns = now_ns;
        state->has_native = false;
        return RAPTOR_TIMESTAMP_INVALID;
    }
    if (state->has_call) {
        timing_add(&state->call_timing, now_ns - state->last_call_ns, config->call_interval_ns);
    }
    state->last_call_ns = now_ns;
    state->has_call = true;
    memcpy(input, observation, MEASURED * sizeof input[0]);
    memcpy(&input[MEASURED], state->mean_action, sizeof state->mean_action);
    const raptor_status status = evaluate_checked(state->hidden, input, next_hidden, action);
    if (status != RAPTOR_OK) {
        raptor_reset(state);
        return status;
    }
    bool healthy;
    if (is_native(state, config, now_ns)) {
        memcpy(state->hidden, next_hidden, sizeof state->hidden);
        if (state->has_native) {
            timing_add(&state->native_timing, now_ns - state->last_native_ns, config->native_interval_ns);
        }
        state->last_native_ns = now_ns;
        state->has_native = true;
        state->averaged = 0u;
        state->native_steps++;
        state->last_step = RAPTOR_STEP_NATIVE;
        healthy = state->native_timing.ok;
    } else {
        state->intermediate_steps++;
        state->last_step = RAPTOR_STEP_INTERMEDIATE;
        healthy = state->call_timing.ok;
    }
    state->phase = state->phase + 1u < config->period ? state->phase + 1u : 0u;
    return healthy ? RAPTOR_OK : RAPTOR_TIMING_UNHEALTHY;
}

/* ---- The observation ----------------------------------------------------------------------------------- */

/* Body to world, row by row; a rotation whatever the quaternion's length. */
static void rotation_of(const float orientation[4], float squared_length, float rotation[9])
{
    const float w = orientation[0];
    const float x = orientation[1];
    const float y = orientation[2];
    const float z = orientation[3];
    const float k = 2.0f / squared_length;
    rotation[0] = 1.0f - k * (y * y + z * z);
    rotation[1] = k * (x * y - w * z);
    rotation[2] = k * (x * z + w * y);
    rotation[3] = k * (x * y + w * z);
    rotation[4] = 1.0f - k * (x * x + z * z);
    rotation[5] = k * (y * z - w * x);
    rotation[6] = k * (x * z - w * y);
    rotation[7] = k * (y * z + w * x);
    rotation[8] = 1.0f - k * (x * x + y * y);
}

static float squared_length_of(const float orientation[4])
{
    return orientation[0] * orientation[0] + orientation[1] * orientation[1] + orientation[2] * orientation[2] +
           orientation[3] * orientation[3];
}

/* Cosine and sine of |angle| <= LARGEST_YAW to 2e-7, in 200 bytes; libm's would bring 4 KiB. */
static void cosine_and_sine(float angle, float *cosine, float *sine)
{
    const float turns = angle * 0x1.45f306p-1f; /* quarter turns: 2 / pi */
    const int32_t quarter = (int32_t)(turns < 0.0f ? turns - 0.5f : turns + 0.5f);
    const float whole = (float)quarter;
    /* Less pi / 2 in three parts, of which the first two times a whole number are exact (Cody and Waite). */
    const float x = ((angle - whole * 0x1.92p0f) - whole * 0x1.fb4p-12f) - whole * 0x1.4442d2p-24f;
    const float z = x * x;
    /* Least maximum error on +-pi/4, fitted by iteratively re-weighted least squares. */
    const float s = x + x * z * (-0.166666508f + z * (8.33195169e-3f + z * -1.94922060e-4f));
    const float c = 1.0f - 0.5f * z + z * z * (4.16666455e-2f + z * (-1.38873374e-3f + z * 2.44348448e-5f));
    const float turned = (quarter & 1) != 0 ? s : c;
    const float other = (quarter & 1) != 0 ? c : s;
    *cosine = ((quarter + 1) & 2) != 0 ? -turned : turned;
    *sine = (quarter & 2) != 0 ? -other : other;
}

/* A world vector in the frame of the reference yaw, each element clipped. */
static void turn_and_clip(const float error[3], float cosine, float sine, float bound, float out[3])
{
    out[0] = clamp(cosine * error[0] + sine * error[1], bound);
    out[1] = clamp(cosine * error[1] - sine * error[0], bound);
    out[2] = clamp(error[2], bound);
}

raptor_status raptor_observe(const raptor_vehicle *vehicle, const raptor_reference *reference,
                             float observation[OBSERVATION])
{
    float rotation[9];
    float position_error[3];
    float velocity_error[3];
    float cosine;
    float sine;
    if (!raptor_all_finite(vehicle->position, 3) || !raptor_all_finite(vehicle->orientation, 4) ||
        !raptor_all_finite(vehicle->linear_velocity, 3) || !raptor_all_finite(vehicle->angular_velocity, 3) ||
        !raptor_all_finite(reference->position, 3) || !raptor_all_finite(reference->linear_velocity, 3) ||
        !raptor_all_finite(&reference->yaw, 1)) {
        return RAPTOR_INPUT_NOT_FINITE;
    }
    if (fabsf(reference->yaw) > LARGEST_YAW) {
        return RAPTOR_YAW_TOO_LARGE;
    }
    const float squared = squared_length_of(vehicle->orientation);
    if (!(squared > 1.0f - QUATERNION_TOLERANCE && squared < 1.0f + QUATERNION_TOLERANCE)) {
        return RAPTOR_NOT_A_ROTATION;
    }
    rotation_of(vehicle->orientation, squared, rotation);
    cosine_and_sine(reference->yaw, &cosine, &sine);
    for (uint32_t i = 0; i < 3; i++) {
        position_error[i] = vehicle->position[i] - reference->position[i];
        velocity_error[i] = vehicle->linear_velocity[i] - reference->linear_velocity[i];
        observation[15 + i] = vehicle->angular_velocity[i];
        /* The matrix's first two rows, turned back by the reference yaw. */
        observation[3 + i] = cosine * rotation[i] + sine * rotation[3 + i];
        observation[6 + i] = cosine * rotation[3 + i] - sine * rotation[i];
        observation[9 + i] = rotation[6 + i];
    }
    turn_and_clip(position_error, cosine, sine, RAPTOR_CLIP_POSITION_M, &observation[0]);
    turn_and_clip(velocity_error, cosine, sine, RAPTOR_CLIP_VELOCITY_M_S, &observation[12]);
    return RAPTOR_OK;
}

void raptor_body_to_world(const float orientation[4], const float body[3], float world[3])
{
    float rotation[9];
    const float in[3] = {body[0], body[1], body[2]};
    rotation_of(orientation, squared_length_of(orientation), rotation);
    for (uint32_t i = 0; i < 3; i++) {
        world[i] = rotation[3 * i] * in[0] + rotation[3 * i + 1] * in[1] + rotation[3 * i + 2] * in[2];
    }
}

static void flip(float vector[3])
{
    vector[1] = -vector[1];
    vector[2] = -vector[2];
}

void raptor_vehicle_from_ned(raptor_vehicle *vehicle)
{
    flip(vehicle->position);
    flip(vehicle->linear_velocity);
    flip(vehicle->angular_velocity);
    vehicle->orientation[2] = -vehicle->orientation[2];
    vehicle->orientation[3] = -vehicle->orientation[3];
}

void raptor_reference_from_ned(raptor_reference *reference)
{
    flip(reference->position);
    flip(reference->linear_velocity);
    reference->yaw = -reference->yaw;
}

/* ---- The motors ---------------------------------------------------------------------------------------- */

void raptor_remap(const float action[ACTION], const uint8_t order[ACTION], float ordered[ACTION])
{
    float in[ACTION];
    memcpy(in, action, sizeof in);
    for (uint32_t i = 0; i < ACTION; i++) {
        ordered[i] = in[order[i]];
    }
}

float raptor_effort(float action)
{
    return 0.5f * (clamp(action, 1.0f) + 1.0f);
}

/* The torques about the three body axes that an angular velocity draws from the policy, through an order. */
static void torques_against(const raptor_motor motors[ACTION], const uint8_t order[ACTION], uint32_t axis, float rate,
                            float torque[3])
{
    float observation[OBSERVATION] = {[3] = 1.0f, [7] = 1.0f, [11] = 1.0f};
    float hidden[HIDDEN];
    float action[ACTION];
    float ordered[ACTION];
    memcpy(hidden, initial_hidden, sizeof hidden);
    observation[15 + axis] = rate;
    raptor_evaluate(hidden, observation, hidden, action);
    raptor_remap(action, order, ordered);
    memset(torque, 0, 3 * sizeof torque[0]);
    for (uint32_t i = 0; i < ACTION; i++) {
        torque[0] += motors[i].y > 0.0f ? ordered[i] : -ordered[i];
        torque[1] += motors[i].x > 0.0f ? -ordered[i] : ordered[i];
        torque[2] += motors[i].torque > 0.0f ? ordered[i] : -ordered[i];
    }
}

bool raptor_motor_order_ok(const raptor_motor motors[ACTION], const uint8_t order[ACTION])
{
    uint32_t used = 0u;
    for (uint32_t i = 0; i < ACTION; i++) {
        if (order[i] >= ACTION) {
            return false;
        }
        used |= 1u << order[i];
    }
    if (used != (1u << ACTION) - 1u) {
        return false;
    }
    for (uint32_t axis = 0; axis < 3; axis++) {
        float to[3];
        float back[3];
        /* The difference of the answers to two opposite rotations: the policy's bias at rest drops out. */
        torques_against(motors, order, axis, 1.0f, to);
        torques_against(motors, order, axis, -1.0f, back);
        const float braking = back[axis] - to[axis];
        for (uint32_t other = 0; other < 3; other++) {
            /* Most of the torque must act on the axis that turns. */
            if (!(braking > 0.0f) || (other != axis && 2.0f * fabsf(back[other] - to[other]) > braking)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- Stale inputs -------------------------------------------------------------------------------------- */

void raptor_freshness_reset(raptor_freshness *freshness)
{
    memset(freshness, 0, sizeof *freshness);
}

void raptor_freshness_mark(raptor_freshness *freshness, raptor_source source, uint64_t stamp_ns)
{
    freshness->stamp_ns[source] = stamp_ns;
    freshness->seen[source] = true;
}

uint32_t raptor_stale(const raptor_freshness *freshness, uint64_t now_ns)
{
    uint32_t stale = 0u;
    for (uint32_t source = 0; source < RAPTOR_SOURCES; source++) {
        const uint64_t stamp_ns = freshness->stamp_ns[source];
        const uint64_t distance_ns = now_ns >= stamp_ns ? now_ns - stamp_ns : stamp_ns - now_ns;
        if (!freshness->seen[source] || distance_ns > RAPTOR_TIMEOUT_NS[source]) {
            stale |= 1u << source;
        }
    }
    return stale;
}
