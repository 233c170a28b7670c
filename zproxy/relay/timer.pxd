"""Timer: deadlines that all lie the same time ahead, so that a queue is sorted by itself.

    due first ─► Timer ─► Timer ─► Timer ◄─ armed last       arm, disarm, expire: O(1)

One queue per kind of delay (handshake, stall, heartbeat …). A Timer is embedded in what it times.
"""

from libc.stdint cimport int64_t, uint32_t

cdef struct Timer:
    Timer* before
    Timer* after
    int64_t due_ms              # monotonic; 0 = not armed
    uint32_t slot               # whose it is, for the caller

cdef struct TimerQueue:         # owns no Timer
    Timer* first
    Timer* last
    int64_t delay_ms


cdef inline void timer_disarm(TimerQueue* queue, Timer* timer) noexcept nogil:
    if timer.due_ms == 0:
        return
    if timer.before != NULL:
        timer.before.after = timer.after
    else:
        queue.first = timer.after
    if timer.after != NULL:
        timer.after.before = timer.before
    else:
        queue.last = timer.before
    timer.before = timer.after = NULL
    timer.due_ms = 0


# (Re)arms to now + the queue's delay.
cdef inline void timer_arm(TimerQueue* queue, Timer* timer, int64_t now_ms) noexcept nogil:
    timer_disarm(queue, timer)
    timer.due_ms = now_ms + queue.delay_ms
    timer.before = queue.last
    if queue.last != NULL:
        queue.last.after = timer
    else:
        queue.first = timer
    queue.last = timer


# Arms one that has just expired again, before all others: due in a millisecond.
cdef inline void timer_arm_first(TimerQueue* queue, Timer* timer, int64_t now_ms) noexcept nogil:
    timer.due_ms = now_ms + 1
    timer.after = queue.first
    if queue.first != NULL:
        queue.first.before = timer
    else:
        queue.last = timer
    queue.first = timer


# Disarms and returns one that is due, or NULL.
cdef inline Timer* timer_expire(TimerQueue* queue, int64_t now_ms) noexcept nogil:
    cdef Timer* timer = queue.first
    if timer == NULL or timer.due_ms > now_ms:
        return NULL
    timer_disarm(queue, timer)
    return timer


# The earlier of `due_ms` and the queue's next one; INT64_MAX stands for never.
cdef inline int64_t timer_next(const TimerQueue* queue, int64_t due_ms) noexcept nogil:
    if queue.first == NULL or queue.first.due_ms > due_ms:
        return due_ms
    return queue.first.due_ms
