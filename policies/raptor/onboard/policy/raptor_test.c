/* SPDX-License-Identifier: Apache-2.0
 *
 * Proves on the processor it runs on that the policy computes what it computed where it was trained, and that its
 * guards hold. Prints one line a check; the exit code is the number of checks that failed.
 *
 * @GENERATED provenance@
 */
#include "raptor_policy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* @GENERATED example@ */

#define HOVER_STEPS 5u

static const float hover[RAPTOR_OBSERVATION_SIZE] = {[3] = 1.0f, [7] = 1.0f, [11] = 1.0f};
static const raptor_motor cross[4] = {{1, -1, -1}, {-1, -1, 1}, {-1, 1, -1}, {1, 1, 1}};
static unsigned failures = 0;

static void check(const char *what, bool holds)
{
    printf("%-4s  %s\n", holds ? "ok" : "FAIL", what);
    failures += holds ? 0u : 1u;
}

static float example_difference(void)
{
    float largest = 0.0f;
    for (unsigned sequence = 0; sequence < EXAMPLE_SEQUENCES; sequence++) {
        float hidden[RAPTOR_HIDDEN_SIZE];
        float action[RAPTOR_ACTION_SIZE];
        raptor_state state;
        raptor_reset(&state);
        memcpy(hidden, state.hidden, sizeof hidden);
        for (unsigned step = 0; step < EXAMPLE_STEPS; step++) {
            raptor_evaluate(hidden, example_input[step][sequence], hidden, action);
            for (unsigned i = 0; i < RAPTOR_ACTION_SIZE; i++) {
                const float difference = fabsf(action[i] - example_output[step][sequence][i]);
                /* A NaN is no number that is at most `largest`. */
                largest = difference <= largest ? largest : difference;
            }
        }
    }
    return largest;
}

static float hover_difference(void)
{
    float largest = 0.0f;
    raptor_state state;
    raptor_reset(&state);
    for (unsigned step = 0; step < HOVER_STEPS; step++) {
        float action[RAPTOR_ACTION_SIZE];
        check("a step of hover is taken", raptor_step(&state, hover, action) == RAPTOR_OK);
        for (unsigned i = 0; i < RAPTOR_ACTION_SIZE; i++) {
            const float difference = fabsf(action[i] - hover_output[step][i]);
            largest = difference <= largest ? largest : difference;
        }
    }
    return largest;
}

static bool same_state(const raptor_state *a, const raptor_state *b)
{
    return memcmp(a->hidden, b->hidden, sizeof a->hidden) == 0 &&
           memcmp(a->mean_action, b->mean_action, sizeof a->mean_action) == 0 &&
           a->native_steps == b->native_steps && a->intermediate_steps == b->intermediate_steps &&
           a->last_call_ns == b->last_call_ns && a->last_native_ns == b->last_native_ns;
}

static void check_guards(void)
{
    const raptor_config config = raptor_config_by_time(2500000u);
    const float rest[RAPTOR_ACTION_SIZE] = {0};
    float action[RAPTOR_ACTION_SIZE];
    raptor_state state;
    raptor_state before;
    raptor_reset(&state);
    check("a first call is native", raptor_control(&state, &config, 5000000u, hover, rest, action) == RAPTOR_OK &&
                                        state.last_step == RAPTOR_STEP_NATIVE);
    check("a call 2.5 ms later is not", raptor_control(&state, &config, 7500000u, hover, action, action) == RAPTOR_OK &&
                                            state.last_step == RAPTOR_STEP_INTERMEDIATE);
    before = state;
    bool refused = true;
    bool untouched = true;
    for (unsigned element = 0; element < RAPTOR_OBSERVATION_SIZE - RAPTOR_ACTION_SIZE; element++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            float bad[RAPTOR_OBSERVATION_SIZE];
            float out[RAPTOR_ACTION_SIZE] = {7.0f, 7.0f, 7.0f, 7.0f};
            memcpy(bad, hover, sizeof bad);
            bad[element] = kind == 0 ? NAN : INFINITY;
            refused &= raptor_control(&state, &config, 10000000u, bad, rest, out) == RAPTOR_INPUT_NOT_FINITE;
            refused &= raptor_step(&state, bad, out) == RAPTOR_INPUT_NOT_FINITE;
            refused &= raptor_step_intermediate(&state, bad, out) == RAPTOR_INPUT_NOT_FINITE;
            untouched &= out[0] == 7.0f && out[3] == 7.0f && same_state(&state, &before);
        }
    }
    const float broken[RAPTOR_ACTION_SIZE] = {0.0f, NAN, 0.0f, 0.0f};
    refused &= raptor_control(&state, &config, 10000000u, hover, broken, action) == RAPTOR_INPUT_NOT_FINITE;
    check("NaN and infinity are refused", refused);
    check("and change nothing", untouched && same_state(&state, &before));
    check("time that goes backwards is refused",
          raptor_control(&state, &config, 1000000u, hover, rest, action) == RAPTOR_TIMESTAMP_INVALID);
    check("and the next call goes on", raptor_control(&state, &config, 3500000u, hover, rest, action) == RAPTOR_OK &&
                                           state.last_step == RAPTOR_STEP_NATIVE);
    state.hidden[0] = NAN;
    check("a spoilt state gives no action",
          raptor_control(&state, &config, 6000000u, hover, rest, action) == RAPTOR_OUTPUT_NOT_FINITE);
    check("and is reset", raptor_control(&state, &config, 8500000u, hover, rest, action) == RAPTOR_OK);
    float huge[RAPTOR_OBSERVATION_SIZE];
    for (unsigned i = 0; i < RAPTOR_OBSERVATION_SIZE; i++) {
        huge[i] = (i % 2u ? -1.0f : 1.0f) * 3e38f;
    }
    const raptor_status status = raptor_control(&state, &config, 11000000u, huge, rest, action);
    check("huge inputs give a clamped action or none",
          status == RAPTOR_OUTPUT_NOT_FINITE ||
              (status >= RAPTOR_OK && raptor_all_finite(action, 4) && fabsf(action[0]) <= 1.0f));
}

static void check_motors_and_time(void)
{
    raptor_freshness freshness;
    check("the policy brakes a vehicle's rotations", raptor_motor_order_ok(cross, RAPTOR_ORDER_CRAZYFLIE));
    check("but not with the motors of another order", !raptor_motor_order_ok(cross, RAPTOR_ORDER_BETAFLIGHT));
    raptor_freshness_reset(&freshness);
    check("inputs are stale before they come", raptor_stale(&freshness, 0u) == 15u);
    for (unsigned source = 0; source < RAPTOR_SOURCES; source++) {
        raptor_freshness_mark(&freshness, (raptor_source)source, 1000000000u);
    }
    check("fresh when they do", raptor_stale(&freshness, 1010000000u) == 0u);
    check("and stale again, each at its time", raptor_stale(&freshness, 1060000000u) == 5u &&
                                                   raptor_stale(&freshness, 1150000000u) == 7u &&
                                                   raptor_stale(&freshness, 1250000000u) == 15u);
}

int main(void)
{
    const float example = example_difference();
    const float at_hover = hover_difference();
    printf("      example, %u steps x %u: largest difference %.2g; hover: %.2g; built-in test: %.2g\n", EXAMPLE_STEPS,
           EXAMPLE_SEQUENCES, (double)example, (double)at_hover, (double)raptor_self_test());
    check("the example is reproduced", example <= RAPTOR_TOLERANCE);
    check("hover is reproduced", at_hover <= RAPTOR_TOLERANCE);
    check("the built-in self-test passes", raptor_self_test() <= RAPTOR_TOLERANCE);
    check_guards();
    check_motors_and_time();
    printf("%s\n", failures ? "FAILED" : "passed");
    return (int)failures;
}
