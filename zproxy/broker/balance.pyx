"""Balance: which plain worker takes the next message; see balance.pxd for the contract. `BalanceProbe` is for the
tests.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef enum:
    CAPACITY_FIRST = 64


cdef void balance_close(Balance* balance) noexcept nogil:
    free(balance.seats)
    memset(balance, 0, sizeof(Balance))


cdef int balance_reserve(Balance* balance, uint32_t slot) noexcept nogil:
    cdef uint32_t capacity = max(balance.capacity, <uint32_t>CAPACITY_FIRST)
    cdef uint32_t index
    cdef void* grown
    while capacity <= slot:
        capacity *= 2
    if capacity == balance.capacity:
        return 0
    grown = realloc(balance.seats, capacity * sizeof(Seat))
    if grown == NULL:
        return -1
    if balance.capacity == 0:
        balance.turn = WORKER_NONE
        for index in range(LOADS):
            balance.rings[index] = WORKER_NONE
    balance.seats = <Seat*>grown
    for index in range(balance.capacity, capacity):
        balance.seats[index].places[<int>RING_TURN].after = WORKER_NONE
    balance.capacity = capacity
    return 0


cdef inline bint balance_has(const Balance* balance, uint32_t slot) noexcept nogil:
    return slot < balance.capacity and balance.seats[slot].places[<int>RING_TURN].after != <uint32_t>WORKER_NONE


cdef inline bint is_in_ring(const Balance* balance, uint32_t slot) noexcept nogil:
    return balance.seats[slot].places[<int>RING_TURN].after < <uint32_t>WORKER_RESTING


# ---- rings ----


# In front of the one whose turn it is: last of the round.
cdef void ring_enter(Balance* balance, RingKind kind, uint32_t* turn, uint32_t slot) noexcept nogil:
    cdef Place* place = &balance.seats[slot].places[<int>kind]
    if turn[0] == <uint32_t>WORKER_NONE:
        place.before = place.after = turn[0] = slot
        return
    place.after = turn[0]
    place.before = balance.seats[turn[0]].places[<int>kind].before
    balance.seats[place.before].places[<int>kind].after = slot
    balance.seats[place.after].places[<int>kind].before = slot


cdef void ring_leave(Balance* balance, RingKind kind, uint32_t* turn, uint32_t slot) noexcept nogil:
    cdef const Place* place = &balance.seats[slot].places[<int>kind]
    if place.after == slot:
        turn[0] = WORKER_NONE
        return
    balance.seats[place.before].places[<int>kind].after = place.after
    balance.seats[place.after].places[<int>kind].before = place.before
    if turn[0] == slot:
        turn[0] = place.after


cdef inline uint32_t ring_of(uint32_t load) noexcept nogil:
    return min(load, <uint32_t>(LOADS - 1))


cdef inline void equals_enter(Balance* balance, uint32_t slot) noexcept nogil:
    cdef uint32_t ring = ring_of(balance.seats[slot].load)
    ring_enter(balance, RING_LOAD, &balance.rings[ring], slot)
    balance.least = min(balance.least, ring)


cdef inline void equals_leave(Balance* balance, uint32_t slot) noexcept nogil:
    ring_leave(balance, RING_LOAD, &balance.rings[ring_of(balance.seats[slot].load)], slot)


cdef void seat_enter(Balance* balance, uint32_t slot) noexcept nogil:
    ring_enter(balance, RING_TURN, &balance.turn, slot)
    balance.usable_count += 1
    if balance.seats[slot].load != <uint32_t>LOAD_UNKNOWN:
        equals_enter(balance, slot)


cdef void seat_leave(Balance* balance, uint32_t slot) noexcept nogil:
    ring_leave(balance, RING_TURN, &balance.turn, slot)
    balance.seats[slot].places[<int>RING_TURN].after = WORKER_RESTING
    balance.usable_count -= 1
    if balance.seats[slot].load != <uint32_t>LOAD_UNKNOWN:
        equals_leave(balance, slot)


# ---- who is there ----


cdef int balance_add(Balance* balance, uint32_t slot, bint is_counted) noexcept nogil:
    if balance_reserve(balance, slot) != 0:
        return -1
    balance.count += 1
    balance.seats[slot].load = 0 if is_counted else <uint32_t>LOAD_UNKNOWN
    seat_enter(balance, slot)
    return 0


cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil:
    if not balance_has(balance, slot):
        return
    balance_set_usable(balance, slot, False)
    balance.seats[slot].places[<int>RING_TURN].after = WORKER_NONE
    balance.count -= 1


cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil:
    if not balance_has(balance, slot) or is_in_ring(balance, slot) == is_usable:
        return
    if is_usable:
        seat_enter(balance, slot)
    else:
        seat_leave(balance, slot)


# ---- what they have to answer ----


cdef inline void seat_load(Balance* balance, uint32_t slot, uint32_t load) noexcept nogil:
    cdef bint is_usable = is_in_ring(balance, slot)
    if is_usable:
        equals_leave(balance, slot)
    balance.seats[slot].load = load
    if is_usable:
        equals_enter(balance, slot)


cdef void balance_load(Balance* balance, uint32_t slot) noexcept nogil:
    seat_load(balance, slot, balance.seats[slot].load + 1)


# Nobody who answers what it was not asked has less than nothing to answer. What a worker had said is read even after
# it was removed.
cdef void balance_unload(Balance* balance, uint32_t slot) noexcept nogil:
    if balance_has(balance, slot) and balance.seats[slot].load:
        seat_load(balance, slot, balance.seats[slot].load - 1)


cdef uint32_t balance_least(Balance* balance) noexcept nogil:
    cdef uint32_t slot
    while balance.rings[balance.least] == <uint32_t>WORKER_NONE:
        balance.least += 1
    slot = balance.rings[balance.least]
    balance.rings[balance.least] = balance.seats[slot].places[<int>RING_LOAD].after
    return slot


cdef class BalanceProbe:
    """The picks by themselves, from slots to slots."""

    cdef Balance balance

    def __dealloc__(self):
        balance_close(&self.balance)

    def add(self, slot, is_counted=False):
        """A worker appears, usable."""
        if balance_add(&self.balance, slot, is_counted) != 0:
            raise MemoryError

    def remove(self, slot):
        """A worker is gone."""
        balance_remove(&self.balance, slot)

    def set_usable(self, slot, is_usable):
        """A worker can take messages (again), or cannot for now."""
        balance_set_usable(&self.balance, slot, is_usable)

    def load(self, slot):
        """A counted worker has one more to answer."""
        balance_load(&self.balance, slot)

    def unload(self, slot):
        """A counted worker has answered one."""
        balance_unload(&self.balance, slot)

    def pick(self):
        """The next worker's slot, or None."""
        cdef uint32_t slot = balance_pick(&self.balance)
        return None if slot == <uint32_t>WORKER_NONE else slot
