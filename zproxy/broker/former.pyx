"""Former: peers whose connection ended without GOODBYE; see former.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from zproxy.broker.table cimport table_reserve


cdef void formers_close(Formers* formers) noexcept nogil:
    free(formers.table)
    formers.table = NULL
    formers.count = formers.capacity = 0


# A place for one more, the oldest's if need be; NULL: no memory.
cdef Former* former_take(Formers* formers) noexcept nogil:
    cdef Former* former
    if formers.count < <uint32_t>FORMERS_MAX:
        if table_reserve(<void**>&formers.table, &formers.capacity, formers.count, sizeof(Former)) != 0:
            return NULL
        formers.count += 1
        return &formers.table[formers.count - 1]
    former = &formers.table[formers.next]
    formers.next = formers.next + 1 if formers.next + 1 < formers.count else 0
    return former


cdef Former* former_of(const Formers* formers, Role role, uint64_t incarnation) noexcept nogil:
    cdef uint32_t place
    for place in range(formers.count):
        if formers.table[place].incarnation == incarnation and formers.table[place].role == role:
            return &formers.table[place]
    return NULL


cdef void formers_enter(Formers* formers, const Peer* peer) noexcept nogil:
    cdef Former* former = former_of(formers, peer.role, peer.incarnation)
    if former == NULL:
        former = former_take(formers)
    if former == NULL:
        return
    former.incarnation = peer.incarnation
    former.failures = peer.failures
    former.rests = peer.rests
    former.role = peer.role
    former.is_fenced = False
    former.name_bytes = peer.name_bytes
    memcpy(former.name, peer.name, PEER_NAME_BYTES)


cdef bint formers_have_fenced(const Formers* formers, Role role, uint64_t incarnation) noexcept nogil:
    cdef const Former* former = former_of(formers, role, incarnation)
    return former != NULL and former.is_fenced


# All of a name agree about its failures from now on.
cdef void formers_succeed(Formers* formers, Peer* peer) noexcept nogil:
    cdef uint32_t place
    cdef Former* former
    for place in range(formers.count):
        former = &formers.table[place]
        if former.role != peer.role or former.name_bytes != peer.name_bytes:
            continue
        if memcmp(former.name, peer.name, peer.name_bytes) != 0:
            continue
        peer.failures = max(peer.failures, former.failures)
        peer.rests = max(peer.rests, former.rests)
        former.failures = former.rests = 0
        former.is_fenced |= former.incarnation != peer.incarnation
