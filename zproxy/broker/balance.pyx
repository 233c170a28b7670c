"""Balance: which worker takes the next message; see balance.pxd for the contract. `BalanceProbe` is for the tests."""

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
    balance.seats = <Seat*>grown
    for index in range(balance.capacity, capacity):
        balance.seats[index].after = WORKER_NONE
    balance.capacity = capacity
    return 0


cdef bint balance_has(const Balance* balance, uint32_t slot) noexcept nogil:
    return slot < balance.capacity and balance.seats[slot].after != <uint32_t>WORKER_NONE


# In front of the one whose turn it is: last of the round.
cdef void ring_enter(Balance* balance, uint32_t slot) noexcept nogil:
    cdef Seat* seat = &balance.seats[slot]
    if balance.usable_count == 0:
        seat.before = seat.after = balance.turn = slot
    else:
        seat.after = balance.turn
        seat.before = balance.seats[balance.turn].before
        balance.seats[seat.before].after = slot
        balance.seats[seat.after].before = slot
    balance.usable_count += 1


cdef void ring_leave(Balance* balance, uint32_t slot) noexcept nogil:
    cdef Seat* seat = &balance.seats[slot]
    balance.seats[seat.before].after = seat.after
    balance.seats[seat.after].before = seat.before
    if balance.turn == slot:
        balance.turn = seat.after
    seat.after = WORKER_RESTING
    balance.usable_count -= 1


cdef int balance_add(Balance* balance, uint32_t slot) noexcept nogil:
    if balance_reserve(balance, slot) != 0:
        return -1
    balance.count += 1
    ring_enter(balance, slot)
    return 0


cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil:
    if not balance_has(balance, slot):
        return
    balance_set_usable(balance, slot, False)
    balance.seats[slot].after = WORKER_NONE
    balance.count -= 1


cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil:
    if not balance_has(balance, slot) or (balance.seats[slot].after != <uint32_t>WORKER_RESTING) == is_usable:
        return
    if is_usable:
        ring_enter(balance, slot)
    else:
        ring_leave(balance, slot)


cdef class BalanceProbe:
    """The round robin by itself, from slots to slots."""

    cdef Balance balance

    def __dealloc__(self):
        balance_close(&self.balance)

    def add(self, slot):
        """A worker appears, usable."""
        if balance_add(&self.balance, slot) != 0:
            raise MemoryError

    def remove(self, slot):
        """A worker is gone."""
        balance_remove(&self.balance, slot)

    def set_usable(self, slot, is_usable):
        """A worker can take messages (again), or cannot for now."""
        balance_set_usable(&self.balance, slot, is_usable)

    def pick(self):
        """The next worker's slot, or None."""
        cdef uint32_t slot = balance_pick(&self.balance)
        return None if slot == <uint32_t>WORKER_NONE else slot
