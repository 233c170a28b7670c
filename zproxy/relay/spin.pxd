"""Spin: may the relay poll a little before it blocks?

Being woken costs a core some 30–50 µs; a relay that polls meanwhile answers sooner and burns that core. AUTO spins
only while single messages come in closer together than a spin lasts: a conversation of one request at a time, where
it pays. A batch resets it, silence ends it, so an idle relay costs nothing.

Pure: times in, answers out.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    SPIN_STREAK = 16            # single messages in quick succession before AUTO begins
    SPIN_MESSAGES = 2           # a turn with more is a batch: the next one comes without hurry

cdef struct Spin:               # embedded in the engine
    int64_t limit_ns            # 0 = never
    bint is_auto
    uint32_t streak
    int64_t turn_ended_ns


# Until when to poll, or 0: block at once.
cdef inline int64_t spin_until_ns(const Spin* spin) noexcept nogil:
    if spin.limit_ns == 0 or (spin.is_auto and spin.streak < SPIN_STREAK):
        return 0
    return spin.turn_ended_ns + spin.limit_ns


# A turn that took `messages` lasted from `began_ns` to `ended_ns`.
cdef inline void spin_judge(Spin* spin, uint64_t messages, int64_t began_ns, int64_t ended_ns) noexcept nogil:
    if messages > SPIN_MESSAGES or (messages and began_ns - spin.turn_ended_ns > spin.limit_ns):
        spin.streak = 0
    elif messages:
        spin.streak += 1
    spin.turn_ended_ns = ended_ns
