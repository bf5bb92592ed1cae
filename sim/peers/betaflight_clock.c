/* SPDX-License-Identifier: Apache-2.0
 *
 * A clock for Betaflight's simulator target, linked in place of its own (--wrap): firmware and plant in step.
 *
 * The target's own clock runs at the ratio of simulated to real time between the last two state packets, and applies
 * the newest ratio to all the time since it was last read. Two packets that a busy machine delivers back to back make
 * it run a hundredfold until the next one: half a second passes in milliseconds, and the firmware takes its receiver
 * for lost. And where the firmware's process gets no processor for some milliseconds, its control loop misses rounds
 * whose filters count on every one.
 *
 * This clock belongs to the packets. A packet that moves simulated time on by a step lets the clock run for a step: by
 * a microsecond each time it is read, which is as fast as the processor goes, so that every round of the control loop
 * takes place. At the end of its step it stands still, and so does the firmware, until the next packet comes; and a
 * packet is only taken once the step before it is used up. The result does not depend on how busy the machine is.
 * While no packets come (before the first, or for more than a fifth of a second), it is real time.
 *
 * One more thing depends on how busy the machine is: a control loop whose first round is more than two rounds late
 * never runs (the scheduler looks for a moment within a microsecond of the next round, and only widens that window
 * after it has found one). Here it starts with the window that it has later on.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define STATE_PACKET_BYTES 144
#define LONGEST_STEP_US 20000.0
#define SILENCE_US 200000
#define PATIENCE_US 100000

int __real_udpRecv(void *link, void *data, size_t size, uint32_t timeout_ms);
int __wrap_udpRecv(void *link, void *data, size_t size, uint32_t timeout_ms);
void __real_delayMicroseconds_real(uint32_t us);
void __wrap_delayMicroseconds_real(uint32_t us);
void __real_schedulerEnableGyro(void);
void __wrap_schedulerEnableGyro(void);
uint32_t __wrap_micros(void);
uint32_t __wrap_millis(void);
uint32_t __wrap_getCycleCounter(void);

/* The scheduler's window, microseconds, and the widest that it takes by itself. */
extern int32_t schedLoopStartCycles;
#define WIDEST_WINDOW_US 12

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
/* What the clock shows, how far it may run, and when the last packet or the last reading in real time was. */
static int64_t shown_us, limit_us, packet_real_us, read_real_us;
static double packet_s;
static int in_step;
/* The thread that flies: the first that asks for the time, before there is any other. It alone uses time up. */
static pthread_t flying;
static int has_flying;

static int64_t real_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Wait, with the lock held, until the other side has moved; false when it did not in time. */
static int wait_moved(int64_t us)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += us * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&moved, &lock, &until) != ETIMEDOUT;
}

static int64_t clock_us(void)
{
    pthread_mutex_lock(&lock);
    if (!has_flying) {
        has_flying = 1;
        flying = pthread_self();
    }
    if (!pthread_equal(flying, pthread_self())) {
        const int64_t seen_us = shown_us;
        pthread_mutex_unlock(&lock);
        return seen_us;
    }
    while (in_step && shown_us >= limit_us) {
        if (!wait_moved(SILENCE_US / 4) && real_us() - packet_real_us > SILENCE_US) {
            in_step = 0;
            read_real_us = 0;
        }
    }
    if (in_step) {
        shown_us += 1;
        if (shown_us >= limit_us) {
            pthread_cond_broadcast(&moved);
        }
    } else {
        const int64_t now_us = real_us();
        if (read_real_us != 0) {
            shown_us += now_us - read_real_us;
        }
        read_real_us = now_us;
    }
    const int64_t us = shown_us;
    pthread_mutex_unlock(&lock);
    return us;
}

/* Before a packet is taken: let the step before it end, so that no round of the control loop is lost. */
static void end_step(void)
{
    pthread_mutex_lock(&lock);
    const int64_t began_us = real_us();
    while (in_step && shown_us < limit_us && real_us() - began_us < PATIENCE_US) {
        wait_moved(PATIENCE_US / 4);
    }
    pthread_mutex_unlock(&lock);
}

/* Once a packet's sensors are set and its motors may answer: let the clock run. */
static void begin_step(double time_s)
{
    pthread_mutex_lock(&lock);
    const double delta_us = (time_s - packet_s) * 1e6;
    if (!in_step) {
        limit_us = shown_us;
    }
    if (delta_us > 0.0 && delta_us <= LONGEST_STEP_US) {
        limit_us += (int64_t)(delta_us + 0.5);
        in_step = 1;
    }
    packet_s = time_s;
    packet_real_us = real_us();
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

/* The target's state thread asks for the next packet as soon as it has done with the last. */
int __wrap_udpRecv(void *link, void *data, size_t size, uint32_t timeout_ms)
{
    static double taken_s;
    static int has_taken;

    if (size != STATE_PACKET_BYTES) {
        return __real_udpRecv(link, data, size, timeout_ms);
    }
    if (has_taken) {
        has_taken = 0;
        begin_step(taken_s);
    }
    const int count = __real_udpRecv(link, data, size, timeout_ms);
    if (count == STATE_PACKET_BYTES) {
        end_step();
        memcpy(&taken_s, data, sizeof taken_s);
        has_taken = 1;
    }
    return count;
}

/* The firmware rests after every round; in step, the clock does that. */
void __wrap_delayMicroseconds_real(uint32_t us)
{
    pthread_mutex_lock(&lock);
    const int rests = !in_step;
    pthread_mutex_unlock(&lock);
    if (rests) {
        __real_delayMicroseconds_real(us);
    }
}

void __wrap_schedulerEnableGyro(void)
{
    __real_schedulerEnableGyro();
    schedLoopStartCycles = WIDEST_WINDOW_US;
}

uint32_t __wrap_micros(void)
{
    return (uint32_t)clock_us();
}

uint32_t __wrap_millis(void)
{
    return (uint32_t)(clock_us() / 1000);
}

/* The target counts microseconds as cycles. */
uint32_t __wrap_getCycleCounter(void)
{
    return (uint32_t)clock_us();
}
