/* SPDX-License-Identifier: Apache-2.0
 *
 * A flight controller's whole use of the policy and nothing else: what it weighs is what the policy costs. It is
 * linked without start-up code and never run.
 */
#include "raptor_policy.h"

extern volatile float sink[RAPTOR_ACTION_SIZE];
volatile float sink[RAPTOR_ACTION_SIZE];

static raptor_state state;
static raptor_freshness freshness;
static raptor_vehicle vehicle;
static raptor_reference reference;
static raptor_motor motors[RAPTOR_ACTION_SIZE];
static float action[RAPTOR_ACTION_SIZE];

int main(void)
{
    const raptor_config config = raptor_config_by_time(1000000u);
    float observation[RAPTOR_OBSERVATION_SIZE];
    float ordered[RAPTOR_ACTION_SIZE];
    if (raptor_self_test() > RAPTOR_TOLERANCE || !raptor_motor_order_ok(motors, RAPTOR_ORDER_BETAFLIGHT)) {
        return 1;
    }
    raptor_reset(&state);
    raptor_freshness_reset(&freshness);
    for (uint64_t now_ns = 0;; now_ns += 1000000u) {
        raptor_freshness_mark(&freshness, RAPTOR_POSITION, now_ns);
        raptor_vehicle_from_ned(&vehicle);
        raptor_reference_from_ned(&reference);
        if (raptor_stale(&freshness, now_ns) != 0u ||
            raptor_observe(&vehicle, &reference, observation) != RAPTOR_OK ||
            raptor_control(&state, &config, now_ns, observation, action, action) < RAPTOR_OK) {
            continue;
        }
        raptor_remap(action, RAPTOR_ORDER_BETAFLIGHT, ordered);
        for (uint32_t i = 0; i < RAPTOR_ACTION_SIZE; i++) {
            sink[i] = raptor_effort(ordered[i]);
        }
    }
}
