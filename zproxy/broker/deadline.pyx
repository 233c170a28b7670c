"""Deadline: a timing wheel over request slots; see deadline.pxd for the contract. `DeadlineProbe` is for the tests."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef void deadlines_open(Deadlines* deadlines) noexcept nogil:
    memset(deadlines.first, 0xFF, sizeof(deadlines.first))


cdef void deadlines_close(Deadlines* deadlines) noexcept nogil:
    free(deadlines.alarms)
    deadlines.alarms = NULL


cdef int deadlines_reserve(Deadlines* deadlines, uint32_t capacity) noexcept nogil:
    cdef uint32_t slot
    cdef Alarm* grown
    if capacity <= deadlines.capacity:
        return 0
    grown = <Alarm*>realloc(deadlines.alarms, capacity * sizeof(Alarm))
    if grown == NULL:
        return -1
    for slot in range(deadlines.capacity, capacity):
        grown[slot].bucket = DEADLINE_NONE
    deadlines.alarms = grown
    deadlines.capacity = capacity
    return 0


# The level of the highest digit in which the alarm's time differs from the wheel's.
cdef inline uint32_t bucket_of(const Deadlines* deadlines, int64_t due_ms) noexcept nogil:
    cdef uint64_t differing = <uint64_t>(due_ms ^ deadlines.reached_ms) | (BUCKETS - 1)
    cdef int level = (63 - highest_zeros(differing)) // LEVEL_BITS
    return <uint32_t>(level * BUCKETS + (due_ms >> (level * LEVEL_BITS) & (BUCKETS - 1)))


cdef void alarm_enter(Deadlines* deadlines, uint32_t slot) noexcept nogil:
    cdef Alarm* alarm = &deadlines.alarms[slot]
    cdef uint32_t bucket = bucket_of(deadlines, alarm.due_ms)
    alarm.bucket = bucket
    alarm.before = DEADLINE_NONE
    alarm.after = deadlines.first[bucket]
    if alarm.after != <uint32_t>DEADLINE_NONE:
        deadlines.alarms[alarm.after].before = slot
    deadlines.first[bucket] = slot
    deadlines.occupied[bucket // BUCKETS] |= <uint64_t>1 << bucket % BUCKETS


cdef void alarm_leave(Deadlines* deadlines, uint32_t slot) noexcept nogil:
    cdef Alarm* alarm = &deadlines.alarms[slot]
    if alarm.after != <uint32_t>DEADLINE_NONE:
        deadlines.alarms[alarm.after].before = alarm.before
    if alarm.before != <uint32_t>DEADLINE_NONE:
        deadlines.alarms[alarm.before].after = alarm.after
    else:
        deadlines.first[alarm.bucket] = alarm.after
        if alarm.after == <uint32_t>DEADLINE_NONE:
            deadlines.occupied[alarm.bucket // BUCKETS] &= ~(<uint64_t>1 << alarm.bucket % BUCKETS)
    alarm.bucket = DEADLINE_NONE


cdef void deadline_arm(Deadlines* deadlines, uint32_t slot, int64_t due_ms, int64_t now_ms) noexcept nogil:
    deadline_disarm(deadlines, slot)
    if deadlines.count == 0:
        deadlines.reached_ms = now_ms
    deadlines.alarms[slot].due_ms = max(due_ms, deadlines.reached_ms)
    alarm_enter(deadlines, slot)
    deadlines.count += 1


cdef void deadline_disarm(Deadlines* deadlines, uint32_t slot) noexcept nogil:
    if deadlines.alarms[slot].bucket == <uint32_t>DEADLINE_NONE:
        return
    alarm_leave(deadlines, slot)
    deadlines.count -= 1


# The wheel has reached a bucket above level 0: what lies there moves down.
cdef void bucket_descend(Deadlines* deadlines, int level) noexcept nogil:
    cdef int place = lowest_bit(deadlines.occupied[level])
    cdef uint32_t bucket = <uint32_t>(level * BUCKETS + place)
    cdef uint32_t slot = deadlines.first[bucket]
    cdef uint32_t after
    deadlines.first[bucket] = DEADLINE_NONE
    deadlines.occupied[level] &= ~(<uint64_t>1 << place)
    while slot != <uint32_t>DEADLINE_NONE:
        after = deadlines.alarms[slot].after
        alarm_enter(deadlines, slot)
        slot = after


cdef uint32_t deadline_expire(Deadlines* deadlines, int64_t now_ms) noexcept nogil:
    cdef int level
    cdef int64_t begin_ms
    cdef uint32_t slot
    while True:
        level = deadlines_level(deadlines)
        begin_ms = deadlines_begin_ms(deadlines, level) if level < LEVELS else INT64_MAX
        if begin_ms > now_ms:
            deadlines.reached_ms = max(deadlines.reached_ms, now_ms)
            return DEADLINE_NONE
        deadlines.reached_ms = begin_ms
        if level == 0:
            break
        bucket_descend(deadlines, level)
    slot = deadlines.first[begin_ms & (BUCKETS - 1)]
    deadline_disarm(deadlines, slot)
    return slot


cdef class DeadlineProbe:
    """A wheel by itself, and its alarms by slot."""

    cdef Deadlines deadlines

    def __cinit__(self, uint32_t count):
        deadlines_open(&self.deadlines)
        if deadlines_reserve(&self.deadlines, count) != 0:
            raise MemoryError

    def __dealloc__(self):
        deadlines_close(&self.deadlines)

    def arm(self, uint32_t slot, int64_t due_ms, int64_t now_ms):
        """(Re)arms it to `due_ms`."""
        deadline_arm(&self.deadlines, self._checked(slot), due_ms, now_ms)

    def disarm(self, uint32_t slot):
        """Disarms it; nothing when it was not armed."""
        deadline_disarm(&self.deadlines, self._checked(slot))

    def expire(self, int64_t now_ms):
        """Disarms one that is due: its slot, or None."""
        cdef uint32_t slot = deadline_expire(&self.deadlines, now_ms)
        return None if slot == <uint32_t>DEADLINE_NONE else slot

    def due_ms(self):
        """When to call `expire` next, or None."""
        cdef int64_t due_ms = deadlines_due_ms(&self.deadlines)
        return None if due_ms == INT64_MAX else due_ms

    def __len__(self):
        return self.deadlines.count

    cdef uint32_t _checked(self, uint32_t slot) except? DEADLINE_NONE:
        if slot >= self.deadlines.capacity:
            raise IndexError(slot)
        return slot
