/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Cortex-M4F needs in front of newlib's own start-up when it runs under an emulator that loads every section
 * to its place: a vector table at address 0, and the floating-point unit switched on.
 */
#include <stdint.h>

extern void _start(void);
/* The linker's entry. It names the table, so that the linker keeps both. */
void raptor_start(void);

typedef void (*vector)(void);

static void fault(void)
{
    /* Semihosting, SYS_EXIT with a run-time error: the emulator ends with exit code 1. */
    register uint32_t operation __asm("r0") = 0x18u;
    register uint32_t reason __asm("r1") = 0x20023u;
    __asm volatile("bkpt 0xAB" : : "r"(operation), "r"(reason) : "memory");
    for (;;) {
    }
}

__attribute__((section(".vectors"))) static const vector vectors[16] = {
    (vector)0x203FFFF0u, raptor_start, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
};

void raptor_start(void)
{
    /* VTOR and CPACR (full access to coprocessors 10 and 11), ARMv7-M Architecture Reference Manual, B3.2. */
    *(volatile uint32_t *)0xE000ED08u = (uint32_t)(uintptr_t)vectors;
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm volatile("dsb\n\tisb");
    _start();
}
