"""Peer: a node or a worker, from its WELCOME on; see peer.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from zproxy.broker.random cimport random_next
from zproxy.broker.table cimport table_reserve
from zproxy.broker.verdict cimport REQUEST_NONE, Role
from zproxy.names cimport NAME_NONE, names_add, names_close, names_find, names_open, names_remove

cdef enum:
    CAPACITY_FIRST = 64


cdef int peers_open(Peers* peers, uint64_t seed) noexcept nogil:
    cdef int role
    peers.random_state = seed
    for role in range(ROLE_COUNT):
        if names_open(&peers.names[role], seed) != 0:
            return -1
    return 0


cdef inline void peer_destroy(Peer* peer) noexcept nogil:
    free(peer.offerings)
    free(peer.ring.entries)
    free(peer)


cdef void peers_close(Peers* peers) noexcept nogil:
    cdef uint32_t number
    cdef int role
    for number in range(peers.made):
        peer_destroy(peers.by_number[number])
    for role in range(ROLE_COUNT):
        names_close(&peers.names[role])
    free(peers.by_number)
    free(peers.seats)
    peers.by_number = peers.seats = NULL
    peers.made = peers.capacity = 0


# It has to differ from those before, and is no secret.
cdef uint32_t random_conversation(Peers* peers) noexcept nogil:
    cdef uint32_t conversation = 0
    while conversation == 0:
        conversation = <uint32_t>(random_next(&peers.random_state) >> 32)
    return conversation


cdef int seats_reserve(Peers* peers, uint32_t slot) noexcept nogil:
    cdef uint32_t capacity = max(peers.capacity, <uint32_t>CAPACITY_FIRST)
    cdef Peer** grown
    while capacity <= slot:
        capacity *= 2
    if capacity == peers.capacity:
        return 0
    grown = <Peer**>realloc(peers.seats, capacity * sizeof(void*))
    if grown == NULL:
        return -1
    memset(grown + peers.capacity, 0, (capacity - peers.capacity) * sizeof(void*))
    peers.seats = grown
    peers.capacity = capacity
    return 0


cdef Peer* peer_take(Peers* peers) noexcept nogil:
    cdef Peer* peer = peers.free
    if peer != NULL:
        peers.free = peer.next_free
        return peer
    if table_reserve(<void**>&peers.by_number, &peers.number_capacity, peers.made, sizeof(void*)) != 0:
        return NULL
    peer = <Peer*>calloc(1, sizeof(Peer))
    if peer != NULL:
        peer.number = peers.made
        peers.by_number[peers.made] = peer
        peers.made += 1
    return peer


# As good as new, but for its number and the table it has.
cdef void peer_renew(Peer* peer) noexcept nogil:
    cdef uint32_t number = peer.number
    cdef Offering* offerings = peer.offerings
    cdef uint32_t offering_capacity = peer.offering_capacity
    memset(peer, 0, sizeof(Peer))
    peer.number = number
    peer.offerings = offerings
    peer.offering_capacity = offering_capacity
    peer.requests.first = peer.requests.last = REQUEST_NONE


cdef Peer* peer_seat(Peers* peers, uint32_t slot, Role role) noexcept nogil:
    cdef Peer* peer
    if seats_reserve(peers, slot) != 0:
        return NULL
    peer = peer_take(peers)
    if peer == NULL:
        return NULL
    peer_renew(peer)
    peer.slot = slot
    peer.role = role
    peer.is_usable = True
    peer.conversation = random_conversation(peers)
    peers.seats[slot] = peer
    peers.live += 1
    return peer


cdef void peer_bind(Peer* peer, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    if name_bytes == 0:
        return
    memcpy(peer.name, name, name_bytes)
    peer.name_bytes = name_bytes
    peer.is_bound = True


cdef void peer_forget(Peers* peers, Peer* peer) noexcept nogil:
    peer.next_free = peers.free
    peers.free = peer
    peers.live -= 1


cdef void peer_dismiss(Peers* peers, Peer* peer) noexcept nogil:
    if peer.references == 0 and not peer.is_named and not peer_is_there(peer):
        peer_forget(peers, peer)


cdef void peer_unseat(Peers* peers, Peer* peer) noexcept nogil:
    peers.seats[peer.slot] = NULL
    peer.slot = PEER_NONE
    peer_dismiss(peers, peer)


cdef void peer_release(Peers* peers, Peer* peer) noexcept nogil:
    peer.references -= 1
    peer_dismiss(peers, peer)


cdef Peer* peer_named(const Peers* peers, Role role, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef uint32_t number = names_find(&peers.names[<int>role], name, name_bytes)
    return NULL if number == <uint32_t>NAME_NONE else peers.by_number[number]


cdef int peer_name(Peers* peers, Peer* peer, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    memcpy(peer.name, name, name_bytes)
    peer.name_bytes = name_bytes
    peer.name_hash = peer_hash(name, name_bytes)
    if names_add(&peers.names[<int>peer.role], peer.name, name_bytes, peer.number) != 0:
        return -1
    peer.is_named = True
    return 0


cdef void peer_unname(Peers* peers, Peer* peer) noexcept nogil:
    if peer.is_named:
        names_remove(&peers.names[<int>peer.role], peer.name, peer.name_bytes, peer.number)
        peer.is_named = False


cdef void peer_move(Peers* peers, Peer* peer, Peer* heir) noexcept nogil:
    cdef uint32_t slot = peer.slot
    cdef uint32_t conversation = peer.conversation
    peer.slot = heir.slot
    peer.conversation = heir.conversation
    peer.ticket = heir.ticket
    peer.permit = heir.permit
    peer.is_bound = heir.is_bound
    heir.slot = slot
    heir.conversation = conversation
    heir.is_replaced = True
    peers.seats[peer.slot] = peer
    if peer_is_there(heir):
        peers.seats[heir.slot] = heir
    else:
        peer_dismiss(peers, heir)


cdef void row_enter(PeerQueue* row, Peer* peer, RowKind kind) noexcept nogil:
    cdef PeerLink* link = &peer.links[<int>kind]
    if link.is_linked:
        return
    link.is_linked = True
    link.before = row.last
    link.after = NULL
    if row.last != NULL:
        row.last.links[<int>kind].after = peer
    else:
        row.first = peer
    row.last = peer


cdef void row_leave(PeerQueue* row, Peer* peer, RowKind kind) noexcept nogil:
    cdef PeerLink* link = &peer.links[<int>kind]
    if not link.is_linked:
        return
    link.is_linked = False
    if link.before != NULL:
        link.before.links[<int>kind].after = link.after
    else:
        row.first = link.after
    if link.after != NULL:
        link.after.links[<int>kind].before = link.before
    else:
        row.last = link.before
