/* SPDX-License-Identifier: Apache-2.0
 *
 * RAPTOR for flight controllers: a recurrent network that turns state and reference of a quadrotor into four
 * motor efforts, the executor that runs it at any rate from 100 Hz up, and the guards around both.
 *
 * C99, no heap, no global state: everything that changes is in a raptor_state that the caller owns. One vehicle,
 * one state. No function blocks, allocates or reads a clock.
 *
 * In flight, at every tick of the rate loop:
 *
 *     raptor_observe(&vehicle, &reference, observation);
 *     if (raptor_control(&state, &config, now_ns, observation, applied, action) >= RAPTOR_OK) {
 *         raptor_remap(action, RAPTOR_ORDER_BETAFLIGHT, ordered);
 *         motor[i] = raptor_effort(ordered[i]);      ... 0 to 1, no thrust linearisation
 *         applied = action;
 *     } else { hand the motors to another controller; never fly on an old action. }
 *
 * Frames: world z up; body forward, left, up. SI units. Motors: front right, back right, back left, front left.
 *
 * @GENERATED provenance@
 */
#ifndef RAPTOR_POLICY_H
#define RAPTOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* @GENERATED sizes@ */

/* How far a step may lie from its recorded example, on any processor. */
#define RAPTOR_TOLERANCE 1e-5f

/* The motors, in the order of an action. */
#define RAPTOR_FRONT_RIGHT 0
#define RAPTOR_BACK_RIGHT 1
#define RAPTOR_BACK_LEFT 2
#define RAPTOR_FRONT_LEFT 3

/* How a call went. Negative: nothing was written to the action; see each function for the state. */
typedef enum {
    RAPTOR_OK = 0,
    RAPTOR_TIMING_UNHEALTHY = 1,   /* the action is good, but calls come unevenly or at another rate */
    RAPTOR_TIMESTAMP_INVALID = -1, /* time went backwards; the next call starts from the new time */
    RAPTOR_INPUT_NOT_FINITE = -2,  /* a NaN or an infinity in the inputs; the state is as before */
    RAPTOR_OUTPUT_NOT_FINITE = -3, /* from finite inputs: the state was spoilt and has been reset */
    RAPTOR_NOT_A_ROTATION = -4,    /* the quaternion's length is not 1 */
    RAPTOR_YAW_TOO_LARGE = -5      /* the reference yaw is beyond +-10,000 rad: wrap it */
} raptor_status;

/* ---- The network --------------------------------------------------------------------------------------- */

/* One step of the network, as trained: 10 ms. Pure; `next_hidden` may be `hidden`. The action is neither
 * clamped nor checked; everything below does both. */
void raptor_evaluate(const float hidden[RAPTOR_HIDDEN_SIZE], const float observation[RAPTOR_OBSERVATION_SIZE],
                     float next_hidden[RAPTOR_HIDDEN_SIZE], float action[RAPTOR_ACTION_SIZE]);

/* The largest difference of any action from recorded ones: five steps of hover and five of the policy's example.
 * Call it at start-up; do not fly above RAPTOR_TOLERANCE. NaN counts as infinite. */
float raptor_self_test(void);

/* ---- The executor -------------------------------------------------------------------------------------- */

typedef enum {
    RAPTOR_STEP_NONE = 0,
    RAPTOR_STEP_NATIVE = 1,      /* kept the network's hidden state */
    RAPTOR_STEP_INTERMEDIATE = 2 /* evaluated the network on a copy of the hidden state */
} raptor_step_kind;

/* When the hidden state may advance; it was trained to do so every 10 ms, whatever the rate of the calls. */
typedef struct {
    uint32_t native_interval_ns; /* the step of the training: 10 ms */
    uint32_t call_interval_ns;   /* nominal time between two calls */
    uint32_t native_slack_ns;    /* how much too early a call may be native, by time */
    uint32_t period;             /* every so many-th call is native; 0: decide by time */
} raptor_config;

/* Every k-th call is native, k = 10 ms / interval: for loops that never miss a call. At least 1, at most 10 ms. */
raptor_config raptor_config_by_count(uint32_t call_interval_ns);

/* The call nearest to 10 ms after the last native one is native: for loops that jitter or miss calls. */
raptor_config raptor_config_by_time(uint32_t call_interval_ns);

/* Judgement of the last full window of RAPTOR_TIMING_WINDOW intervals; healthy until the first is full. */
#define RAPTOR_TIMING_WINDOW 100u
typedef struct {
    float sum_ns;
    uint32_t min_ns;
    uint32_t max_ns;
    uint32_t count;
    float min_ratio;  /* shortest interval as a multiple of nominal */
    float mean_ratio; /* mean interval */
    float max_ratio;  /* longest interval */
    bool ok;          /* all three between 0.8 and 1.2 */
} raptor_timing;

typedef struct {
    float hidden[RAPTOR_HIDDEN_SIZE];
    float mean_action[RAPTOR_ACTION_SIZE]; /* of the actions applied since the last native step */
    uint32_t averaged;                     /* how many those are */
    uint32_t phase;                        /* calls since the last native one, modulo the period */
    uint32_t native_steps;
    uint32_t intermediate_steps;
    uint64_t last_call_ns;
    uint64_t last_native_ns;
    raptor_timing native_timing;
    raptor_timing call_timing;
    bool has_call;
    bool has_native;
    raptor_step_kind last_step; /* what the last call did */
} raptor_state;

/* Begin anew. On activation only: never because the reference changed, and not after a disturbance. */
void raptor_reset(raptor_state *state);

/* One native step on the state: for a loop of exactly 100 Hz. The last four elements of the observation are the
 * action applied before. On RAPTOR_INPUT_NOT_FINITE the state is as before. */
raptor_status raptor_step(raptor_state *state, const float observation[RAPTOR_OBSERVATION_SIZE],
                          float action[RAPTOR_ACTION_SIZE]);

/* One evaluation on a copy of the state. */
raptor_status raptor_step_intermediate(const raptor_state *state,
                                       const float observation[RAPTOR_OBSERVATION_SIZE],
                                       float action[RAPTOR_ACTION_SIZE]);

/* One call at any rate. Decides between native and intermediate, averages the applied actions in between, clamps
 * the action to -1..1 and watches time.
 *
 * now_ns: time of the observation, any epoch. applied: the action that the motors got since the last call; zeros
 * at first. Of the observation, the last four elements are not read. */
raptor_status raptor_control(raptor_state *state, const raptor_config *config, uint64_t now_ns,
                             const float observation[RAPTOR_OBSERVATION_SIZE],
                             const float applied[RAPTOR_ACTION_SIZE], float action[RAPTOR_ACTION_SIZE]);

/* ---- The observation ----------------------------------------------------------------------------------- */

typedef struct {
    float position[3];         /* world, m */
    float orientation[4];      /* quaternion (w, x, y, z), body to world */
    float linear_velocity[3];  /* world, m/s */
    float angular_velocity[3]; /* body, rad/s */
} raptor_vehicle;

typedef struct {
    float position[3];        /* world, m */
    float linear_velocity[3]; /* world, m/s; leaving it at zero while the position moves costs most of the accuracy */
    float yaw;                /* world, rad */
} raptor_reference;

/* The first 18 elements of an observation; the last four, the action applied before, are left as they are.
 * Errors are turned into the frame of the reference yaw and clipped there. Writes nothing unless RAPTOR_OK. */
raptor_status raptor_observe(const raptor_vehicle *vehicle, const raptor_reference *reference,
                             float observation[RAPTOR_OBSERVATION_SIZE]);

/* A body vector in the world, for estimators that give velocity in the body's frame. */
void raptor_body_to_world(const float orientation[4], const float body[3], float world[3]);

/* From north-east-down and forward-right-down, in place, as PX4 measures: a vehicle, a reference. */
void raptor_vehicle_from_ned(raptor_vehicle *vehicle);
void raptor_reference_from_ned(raptor_reference *reference);

/* ---- The motors ---------------------------------------------------------------------------------------- */

/* Which of our motors is at place i of another order: ordered[i] = action[ORDER[i]]. */
extern const uint8_t RAPTOR_ORDER_CRAZYFLIE[RAPTOR_ACTION_SIZE];  /* front right, back right, back left, front left */
extern const uint8_t RAPTOR_ORDER_BETAFLIGHT[RAPTOR_ACTION_SIZE]; /* back right, front right, back left, front left */
extern const uint8_t RAPTOR_ORDER_PX4[RAPTOR_ACTION_SIZE];        /* front right, back left, front left, back right */

void raptor_remap(const float action[RAPTOR_ACTION_SIZE], const uint8_t order[RAPTOR_ACTION_SIZE],
                  float ordered[RAPTOR_ACTION_SIZE]);

/* Motor effort, 0 to 1, of one element of an action. It is a share of the motor's speed, not of its thrust. */
float raptor_effort(float action);

/* Where a motor sits and how it turns; the numbers' signs are all that matters. */
typedef struct {
    float x;     /* forward of the centre */
    float y;     /* left of the centre */
    float torque; /* about body z by the motor's drag: negative where the propeller turns counter-clockwise */
} raptor_motor;

/* Whether the policy, through an order, brakes every rotation of a vehicle with these motors. False for any wrong
 * order or wrong spin direction: check it at start-up, because a vehicle with swapped motors flips at take-off. */
bool raptor_motor_order_ok(const raptor_motor motors[RAPTOR_ACTION_SIZE],
                           const uint8_t order[RAPTOR_ACTION_SIZE]);

/* ---- Stale inputs -------------------------------------------------------------------------------------- */

typedef enum {
    RAPTOR_ANGULAR_VELOCITY = 0,
    RAPTOR_POSITION = 1, /* and linear velocity */
    RAPTOR_ORIENTATION = 2,
    RAPTOR_REFERENCE = 3,
    RAPTOR_SOURCES = 4
} raptor_source;

/* How old each input may be. */
extern const uint32_t RAPTOR_TIMEOUT_NS[RAPTOR_SOURCES]; /* 10, 100, 50 and 200 ms, as PX4's module has them */

typedef struct {
    uint64_t stamp_ns[RAPTOR_SOURCES];
    bool seen[RAPTOR_SOURCES];
} raptor_freshness;

/* Forget every input. */
void raptor_freshness_reset(raptor_freshness *freshness);

/* Note that an input was captured at a time. */
void raptor_freshness_mark(raptor_freshness *freshness, raptor_source source, uint64_t stamp_ns);

/* The inputs that are missing, too old, or from the future by more than their timeout: a mask of
 * 1u << raptor_source; 0 when all are fresh. */
uint32_t raptor_stale(const raptor_freshness *freshness, uint64_t now_ns);

/* ---- Numbers ------------------------------------------------------------------------------------------- */

/* Whether all numbers are finite; true to its word under -ffast-math too. */
bool raptor_all_finite(const float *numbers, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
