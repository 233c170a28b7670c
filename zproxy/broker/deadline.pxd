"""Deadline: when something has to happen to a request, by slot. A hierarchical timing wheel of milliseconds.

    level 0   64 buckets of 1 ms        ┐ a bucket is a list of alarms;
    level 1   64 of 64 ms               │ a word for each level says which of its buckets hold any
    …                                   │
    level 7   64 of 139 years           ┘

An alarm lies on the level of the highest digit (of 6 bits) in which its time differs from the wheel's, so everything
on a level comes before everything above it: the next bucket is one count of zero bits. When the wheel reaches a bucket
above level 0, its alarms move down; each moves seven times at most, mostly once or twice.

Arming and disarming: O(1). With nothing armed nothing is ever due. With something armed `deadlines_due_ms` may be
early, by less than a bucket of its level, never late.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from *:
    int lowest_bit "__builtin_ctzll" (uint64_t word) noexcept nogil
    int highest_zeros "__builtin_clzll" (uint64_t word) noexcept nogil

cdef enum:
    DEADLINE_NONE = 0xFFFFFFFF
    LEVELS = 8                  # 48 bits of milliseconds: no wheel goes round
    LEVEL_BITS = 6
    BUCKETS = 64                # of a level

cdef struct Alarm:              # one for each slot
    int64_t due_ms              # monotonic
    uint32_t before             # in its bucket; DEADLINE_NONE = first
    uint32_t after
    uint32_t bucket             # level * BUCKETS + place; DEADLINE_NONE = not armed

cdef struct Deadlines:          # owns `alarms`; see deadlines_open
    Alarm* alarms
    uint32_t capacity
    uint32_t count              # armed
    int64_t reached_ms          # the wheel's time: nothing armed is due before it
    uint64_t[LEVELS] occupied
    uint32_t[512] first         # LEVELS * BUCKETS; by bucket

# Empty, from zeroed.
cdef void deadlines_open(Deadlines* deadlines) noexcept nogil
cdef void deadlines_close(Deadlines* deadlines) noexcept nogil

# Room for slots below `capacity`. 0, or -1: no memory.
cdef int deadlines_reserve(Deadlines* deadlines, uint32_t capacity) noexcept nogil

# (Re)arms `slot`. A time that is over is due at once.
cdef void deadline_arm(Deadlines* deadlines, uint32_t slot, int64_t due_ms, int64_t now_ms) noexcept nogil

# No-op for one that is not armed.
cdef void deadline_disarm(Deadlines* deadlines, uint32_t slot) noexcept nogil

# Disarms one that is due, earlier milliseconds first, and returns it; or DEADLINE_NONE.
cdef uint32_t deadline_expire(Deadlines* deadlines, int64_t now_ms) noexcept nogil


# The lowest level that holds anything; LEVELS where none does.
cdef inline int deadlines_level(const Deadlines* deadlines) noexcept nogil:
    cdef int level = 0
    if deadlines.count == 0:
        return LEVELS
    while deadlines.occupied[level] == 0:
        level += 1
    return level


# When the first bucket of `level`, which holds something, begins.
cdef inline int64_t deadlines_begin_ms(const Deadlines* deadlines, int level) noexcept nogil:
    cdef int shift = level * LEVEL_BITS
    cdef int64_t above = deadlines.reached_ms >> (shift + LEVEL_BITS)
    return (above << LEVEL_BITS | lowest_bit(deadlines.occupied[level])) << shift


# When deadline_expire has something to do; INT64_MAX: never.
cdef inline int64_t deadlines_due_ms(const Deadlines* deadlines) noexcept nogil:
    cdef int level = deadlines_level(deadlines)
    return INT64_MAX if level == LEVELS else deadlines_begin_ms(deadlines, level)
