/* SPDX-License-Identifier: Apache-2.0
 *
 * One raptor_flight behind flat functions, for tests.
 */
#include "raptor_flight.h"

static raptor_flight flight;
static float force_delay_s;

void shim_init(uint32_t tick_us, uint32_t ticks);
int shim_feed(uint64_t now_us, const uint8_t *payload, uint32_t size, uint8_t *answer);
void shim_status(uint64_t now_us, uint8_t *answer);
int shim_update(uint64_t now_us, const float *orientation, const float *angular_velocity, const float *specific_force,
                uint32_t switches, float *action);
void shim_force_delay(float seconds);
void shim_spoil(void);

void shim_init(uint32_t tick_us, uint32_t ticks)
{
    raptor_flight_init(&flight, tick_us, ticks);
}

int shim_feed(uint64_t now_us, const uint8_t *payload, uint32_t size, uint8_t *answer)
{
    return raptor_flight_feed(&flight, now_us, payload, size, answer) ? 1 : 0;
}

void shim_status(uint64_t now_us, uint8_t *answer)
{
    raptor_flight_status(&flight, now_us, answer);
}

/* switches: 1 switch, 2 armed, 4 failsafe, 8 no accelerometer, 16 samples repeat, 32 this one is new */
int shim_update(uint64_t now_us, const float *orientation, const float *angular_velocity, const float *specific_force,
                uint32_t switches, float *action)
{
    raptor_sensors sensors = {.now_us = now_us, .specific_force_delay_s = force_delay_s};
    for (int i = 0; i < 4; i++) {
        sensors.orientation[i] = orientation[i];
    }
    for (int i = 0; i < 3; i++) {
        sensors.angular_velocity[i] = angular_velocity[i];
        sensors.specific_force[i] = specific_force[i];
    }
    sensors.switch_on = (switches & 1u) != 0u;
    sensors.armed = (switches & 2u) != 0u;
    sensors.failsafe = (switches & 4u) != 0u;
    sensors.has_accelerometer = (switches & 8u) == 0u;
    sensors.repeats = (switches & 16u) != 0u;
    sensors.is_new = (switches & 32u) != 0u;
    return raptor_flight_update(&flight, &sensors, action) ? 1 : 0;
}

void shim_force_delay(float seconds)
{
    force_delay_s = seconds;
}

void shim_spoil(void)
{
    const uint32_t nan_bits = 0x7FC00000u;
    uint8_t *bytes = (uint8_t *)&flight.policy.hidden[3];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(nan_bits >> (8 * i));
    }
}
