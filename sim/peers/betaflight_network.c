/* SPDX-License-Identifier: Apache-2.0
 *
 * A lock around the serial ports over TCP of Betaflight's simulator target, linked around its own (--wrap).
 *
 * The target opens its ports and writes to them from the thread that flies, while another one serves the same list of
 * streams without a lock. A port that is being opened is closed in the eyes of that thread, and a closed one is thrown
 * away: where a busy machine takes the processor from the first thread in between, the port is listened on and never
 * answered. And bytes that are written while the other thread sends can be lost or sent twice.
 *
 * Here only one of them is at work on the streams at a time. The serving thread gives the lock back while it waits for
 * something to happen, so that nobody waits for it longer than it works.
 */
#include <pthread.h>
#include <sys/select.h>

void __real_dyad_update(void);
void __wrap_dyad_update(void);
void __real_dyad_write(void *stream, const void *data, int size);
void __wrap_dyad_write(void *stream, const void *data, int size);
void *__real_serTcpOpen(int id, void *callback, void *callback_data, unsigned baud, int mode, int options);
void *__wrap_serTcpOpen(int id, void *callback, void *callback_data, unsigned baud, int mode, int options);
int __real_select(int count, fd_set *readable, fd_set *writable, fd_set *failed, struct timeval *timeout);
int __wrap_select(int count, fd_set *readable, fd_set *writable, fd_set *failed, struct timeval *timeout);

static pthread_mutex_t streams = PTHREAD_MUTEX_INITIALIZER;
/* Whether this thread serves the streams, and so holds the lock. */
static __thread int serves;

void __wrap_dyad_update(void)
{
    pthread_mutex_lock(&streams);
    serves = 1;
    __real_dyad_update();
    serves = 0;
    pthread_mutex_unlock(&streams);
}

/* What to wait for is the serving thread's own; a stream that is opened meanwhile is looked at in the next round. */
int __wrap_select(int count, fd_set *readable, fd_set *writable, fd_set *failed, struct timeval *timeout)
{
    if (!serves) {
        return __real_select(count, readable, writable, failed, timeout);
    }
    pthread_mutex_unlock(&streams);
    const int ready = __real_select(count, readable, writable, failed, timeout);
    pthread_mutex_lock(&streams);
    return ready;
}

void __wrap_dyad_write(void *stream, const void *data, int size)
{
    if (serves) {
        __real_dyad_write(stream, data, size);
        return;
    }
    pthread_mutex_lock(&streams);
    __real_dyad_write(stream, data, size);
    pthread_mutex_unlock(&streams);
}

void *__wrap_serTcpOpen(int id, void *callback, void *callback_data, unsigned baud, int mode, int options)
{
    pthread_mutex_lock(&streams);
    void *port = __real_serTcpOpen(id, callback, callback_data, baud, mode, options);
    pthread_mutex_unlock(&streams);
    return port;
}
