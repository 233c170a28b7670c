"""Chain: ordered requests of one key of a service; see chain.pxd for the contract."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free

from zproxy.broker.index cimport INDEX_NONE, index_add, index_close, index_find, index_open, index_remove, index_reserve
from zproxy.broker.request cimport LINK_TURN, Request, queue_append, queue_remove
from zproxy.broker.table cimport table_reserve
from zproxy.broker.verdict cimport REQUEST_NONE


cdef int chains_open(Chains* chains, uint64_t seed) noexcept nogil:
    chains.free = REQUEST_NONE
    return index_open(&chains.index, seed)


cdef void chains_close(Chains* chains) noexcept nogil:
    index_close(&chains.index)
    free(chains.table)
    chains.table = NULL


cdef int chains_reserve(Chains* chains) noexcept nogil:
    if index_reserve(&chains.index, chains.index.count + 1) != 0:
        return -1
    if chains.free != <uint32_t>REQUEST_NONE:
        return 0
    return table_reserve(<void**>&chains.table, &chains.capacity, chains.used, sizeof(Chain))


cdef inline uint32_t chain_find(const Chains* chains, const Request* request) noexcept nogil:
    return index_find(&chains.index, request.service.number, request.key_hash)


cdef bint chain_is_held(const Chains* chains, uint32_t service, uint64_t key_hash) noexcept nogil:
    return index_find(&chains.index, service, key_hash) != <uint32_t>INDEX_NONE


cdef uint32_t chain_take(Chains* chains) noexcept nogil:
    cdef uint32_t number = chains.free
    if number == <uint32_t>REQUEST_NONE:
        number = chains.used
        chains.used += 1
    else:
        chains.free = chains.table[number].next_free
    chains.table[number].behind.first = chains.table[number].behind.last = REQUEST_NONE
    chains.table[number].behind.count = 0
    chains.table[number].holders = 1
    return number


cdef bint chain_enter(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil:
    cdef Request* request = &requests.table[slot]
    cdef uint32_t number = chain_find(chains, request)
    if number != <uint32_t>INDEX_NONE:
        queue_append(requests, &chains.table[number].behind, LINK_TURN, slot)
        return False
    request.holds_chain = True
    index_add(&chains.index, request.service.number, request.key_hash, chain_take(chains))
    return True


cdef void chain_share(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil:
    chains.table[chain_find(chains, &requests.table[slot])].holders += 1


cdef void chain_leave(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil:
    cdef uint32_t number = chain_find(chains, &requests.table[slot])
    queue_remove(requests, &chains.table[number].behind, LINK_TURN, slot)


cdef uint32_t chain_release(Chains* chains, Requests* requests, uint32_t slot) noexcept nogil:
    cdef Request* request = &requests.table[slot]
    cdef uint32_t number = chain_find(chains, request)
    cdef Chain* chain = &chains.table[number]
    cdef uint32_t heir = chain.behind.first
    request.holds_chain = False
    chain.holders -= 1
    if chain.holders:
        return REQUEST_NONE
    if heir != <uint32_t>REQUEST_NONE:
        queue_remove(requests, &chain.behind, LINK_TURN, heir)
        requests.table[heir].holds_chain = True
        chain.holders = 1
        return heir
    index_remove(&chains.index, request.service.number, request.key_hash)
    chain.next_free = chains.free
    chains.free = number
    return REQUEST_NONE
