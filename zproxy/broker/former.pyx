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


cdef inline bint has_name(const Former* former, Role role, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    return former.role == role and former.name_bytes == name_bytes and memcmp(former.name, name, name_bytes) == 0


cdef Former* former_of(
    const Formers* formers, Role role, const uint8_t* name, uint8_t name_bytes, uint64_t incarnation
) noexcept nogil:
    cdef uint32_t place
    cdef Former* former
    for place in range(formers.count):
        former = &formers.table[place]
        if former.incarnation == incarnation and has_name(former, role, name, name_bytes):
            return former
    return NULL


cdef void formers_enter(Formers* formers, const Peer* peer) noexcept nogil:
    cdef Former* former = former_of(formers, peer.role, peer.name, peer.name_bytes, peer.incarnation)
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


cdef bint formers_have_fenced(
    const Formers* formers, Role role, const uint8_t* name, uint8_t name_bytes, uint64_t incarnation
) noexcept nogil:
    cdef const Former* former = former_of(formers, role, name, name_bytes, incarnation)
    return former != NULL and former.is_fenced


# All of a name agree about its failures from now on.
cdef void formers_succeed(Formers* formers, Peer* peer) noexcept nogil:
    cdef uint32_t place
    cdef Former* former
    for place in range(formers.count):
        former = &formers.table[place]
        if not has_name(former, peer.role, peer.name, peer.name_bytes):
            continue
        peer.failures = max(peer.failures, former.failures)
        peer.rests = max(peer.rests, former.rests)
        former.failures = former.rests = 0
        former.is_fenced |= former.incarnation != peer.incarnation
