/* SPDX-License-Identifier: Apache-2.0
 *
 * Measures one call of the policy with everything a flight controller does around it: observation, executor, remap.
 * Prints one line of numbers. Give it a counter for your processor: the DWT cycle counter is used on Cortex-M when
 * RAPTOR_TIMING_DWT is defined, SysTick when RAPTOR_TIMING_SYSTICK says how many nanoseconds a tick takes, else the
 * host's clock.
 */
#if !defined(RAPTOR_TIMING_DWT) && !defined(RAPTOR_TIMING_SYSTICK)
#define _POSIX_C_SOURCE 199309L
#endif
#include "raptor_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef RAPTOR_TIMING_STEPS
#define RAPTOR_TIMING_STEPS 10000u
#endif

#if defined(RAPTOR_TIMING_DWT)
/* Data watchpoint and trace unit, ARMv7-M Architecture Reference Manual, C1.8. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UNIT "cycles"
static void counter_start(void)
{
    REGISTER(0xE000EDFCu) |= 1u << 24; /* DEMCR.TRCENA */
    REGISTER(0xE0001FB0u) = 0xC5ACCE55u; /* unlock, where there is a lock */
    REGISTER(0xE0001004u) = 0u;
    REGISTER(0xE0001000u) |= 1u; /* DWT_CTRL.CYCCNTENA */
}
static uint32_t counter_read(void)
{
    return REGISTER(0xE0001004u);
}
static uint32_t counter_units(uint32_t from, uint32_t to)
{
    return to - from;
}
#elif defined(RAPTOR_TIMING_SYSTICK)
/* SysTick, ARMv7-M Architecture Reference Manual, B3.3; it counts down, 24 bits. Under an emulator that spends one
 * nanosecond an instruction, nanoseconds are instructions. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UNIT "instructions"
static void counter_start(void)
{
    REGISTER(0xE000E014u) = 0x00FFFFFFu;
    REGISTER(0xE000E018u) = 0u;
    REGISTER(0xE000E010u) = 5u;
}
static uint32_t counter_read(void)
{
    return REGISTER(0xE000E018u);
}
static uint32_t counter_units(uint32_t from, uint32_t to)
{
    return ((from - to) & 0x00FFFFFFu) * (uint32_t)RAPTOR_TIMING_SYSTICK;
}
#else
#include <time.h>
#define UNIT "ns"
static void counter_start(void)
{
}
static uint32_t counter_read(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}
static uint32_t counter_units(uint32_t from, uint32_t to)
{
    return to - from;
}
#endif

static uint32_t taken[RAPTOR_TIMING_STEPS];

static int ascending(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a;
    const uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Numbers between -1 and 1 that no compiler can foresee; Numerical Recipes' linear congruential generator. */
static float draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)*seed * (1.0f / 2147483648.0f);
}

int main(void)
{
    const raptor_config config = raptor_config_by_count(2500000u);
    raptor_state state;
    raptor_vehicle vehicle = {.orientation = {1.0f, 0.0f, 0.0f, 0.0f}};
    raptor_reference reference = {.yaw = 0.3f};
    float action[RAPTOR_ACTION_SIZE] = {0};
    float ordered[RAPTOR_ACTION_SIZE];
    float observation[RAPTOR_OBSERVATION_SIZE];
    uint32_t seed = 1u;
    float sum = 0.0f;
    uint64_t total = 0u;
    raptor_reset(&state);
    counter_start();
    for (uint32_t step = 0; step < RAPTOR_TIMING_STEPS; step++) {
        for (uint32_t i = 0; i < 3; i++) {
            vehicle.position[i] = draw(&seed);
            vehicle.linear_velocity[i] = draw(&seed);
            vehicle.angular_velocity[i] = 5.0f * draw(&seed);
        }
        const uint32_t from = counter_read();
        const bool observed = raptor_observe(&vehicle, &reference, observation) == RAPTOR_OK;
        const raptor_status status = raptor_control(&state, &config, 2500000u * (uint64_t)step, observation, action, action);
        raptor_remap(action, RAPTOR_ORDER_BETAFLIGHT, ordered);
        const uint32_t to = counter_read();
        taken[step] = counter_units(from, to);
        total += taken[step];
        if (!observed || status < RAPTOR_OK) {
            printf("step %lu was refused\n", (unsigned long)step);
            return 1;
        }
        sum += raptor_effort(ordered[0]);
    }
    qsort(taken, RAPTOR_TIMING_STEPS, sizeof taken[0], ascending);
    printf("steps %lu unit %s min %lu median %lu mean %lu max %lu state_bytes %lu checksum %.3f\n",
           (unsigned long)RAPTOR_TIMING_STEPS, UNIT, (unsigned long)taken[0],
           (unsigned long)taken[RAPTOR_TIMING_STEPS / 2u], (unsigned long)(total / RAPTOR_TIMING_STEPS),
           (unsigned long)taken[RAPTOR_TIMING_STEPS - 1u], (unsigned long)sizeof state, (double)sum);
    return 0;
}
