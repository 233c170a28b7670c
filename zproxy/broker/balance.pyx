"""Balance: which worker takes the next message; see balance.pxd for the contract. `BalanceProbe` is for the tests."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef enum:
    CAPACITY_FIRST = 64


cdef void balance_close(Balance* balance) noexcept nogil:
    free(balance.order)
    free(balance.place)
    memset(balance, 0, sizeof(Balance))


cdef int balance_reserve(Balance* balance, uint32_t slot) noexcept nogil:
    cdef uint32_t capacity = max(balance.capacity, <uint32_t>CAPACITY_FIRST)
    cdef void* grown
    while capacity <= slot:
        capacity *= 2
    if capacity == balance.capacity:
        return 0
    grown = realloc(balance.order, capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    balance.order = <uint32_t*>grown
    grown = realloc(balance.place, capacity * sizeof(uint32_t))
    if grown == NULL:
        return -1
    balance.place = <uint32_t*>grown
    memset(balance.place + balance.capacity, 0xFF, (capacity - balance.capacity) * sizeof(uint32_t))
    balance.capacity = capacity
    return 0


cdef bint balance_has(const Balance* balance, uint32_t slot) noexcept nogil:
    return slot < balance.capacity and balance.place[slot] != <uint32_t>WORKER_NONE


cdef void balance_swap(Balance* balance, uint32_t first, uint32_t second) noexcept nogil:
    cdef uint32_t slot = balance.order[first]
    balance.order[first] = balance.order[second]
    balance.order[second] = slot
    balance.place[balance.order[first]] = first
    balance.place[slot] = second


cdef int balance_add(Balance* balance, uint32_t slot) noexcept nogil:
    if balance_reserve(balance, slot) != 0:
        return -1
    balance.order[balance.count] = slot
    balance.place[slot] = balance.count
    balance.count += 1
    balance_set_usable(balance, slot, True)
    return 0


cdef void balance_remove(Balance* balance, uint32_t slot) noexcept nogil:
    if not balance_has(balance, slot):
        return
    balance_set_usable(balance, slot, False)
    balance.count -= 1
    balance_swap(balance, balance.place[slot], balance.count)
    balance.place[slot] = WORKER_NONE


cdef void balance_set_usable(Balance* balance, uint32_t slot, bint is_usable) noexcept nogil:
    if not balance_has(balance, slot) or (balance.place[slot] < balance.usable_count) == is_usable:
        return
    if is_usable:
        balance_swap(balance, balance.place[slot], balance.usable_count)
        balance.usable_count += 1
        return
    balance.usable_count -= 1
    balance_swap(balance, balance.place[slot], balance.usable_count)


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
