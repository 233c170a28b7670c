"""Timer: deadlines that all lie the same time ahead; see timer.pxd, where all of it is.
`TimerProbe` is for the tests."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdlib cimport calloc, free


cdef class TimerProbe:
    """One queue and its timers, by slot."""

    cdef TimerQueue queue
    cdef Timer* timers
    cdef uint32_t count

    def __cinit__(self, uint32_t count, int64_t delay_ms):
        cdef uint32_t slot
        self.queue.delay_ms = delay_ms
        self.count = count
        self.timers = <Timer*>calloc(count, sizeof(Timer))
        if self.timers == NULL:
            raise MemoryError
        for slot in range(count):
            self.timers[slot].slot = slot

    def __dealloc__(self):
        free(self.timers)

    def arm(self, uint32_t slot, int64_t now_ms):
        """(Re)arms it to `now_ms` + the delay."""
        timer_arm(&self.queue, self._timer(slot), now_ms)

    def disarm(self, uint32_t slot):
        """Disarms it; nothing when it was not armed."""
        timer_disarm(&self.queue, self._timer(slot))

    def expire(self, int64_t now_ms):
        """Disarms one that is due: its slot, or None."""
        cdef Timer* timer = timer_expire(&self.queue, now_ms)
        return None if timer == NULL else timer.slot

    def next_due_ms(self):
        """When the next is due, or None."""
        cdef int64_t due_ms = timer_next(&self.queue, INT64_MAX)
        return None if due_ms == INT64_MAX else due_ms

    cdef Timer* _timer(self, uint32_t slot) except NULL:
        if slot >= self.count:
            raise IndexError(slot)
        return &self.timers[slot]
