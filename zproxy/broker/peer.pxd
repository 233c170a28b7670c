"""Peer: a node or a worker, from its WELCOME on.

A peer is seated at the slot of its connection. It outlives the connection while requests still know it: what waits or
is to be told names it. Peers are never moved, so requests and services point to them; the gone ones are used again.

    joined ─► known (HELLO, READY) ─► leaving (GOODBYE) ─┐
      │         │└► replaced: another connection has its  ├─► gone ─► free, once no request knows it
      │         │   name, this one is to be closed ──────┤
      │         └► absent: a node whose connection ended  │
      │            without GOODBYE; it may come back ─────┤
      └──────────────────────────────────────────────────┘

Rule 1. A name belongs to one peer of its role, seated or absent, who is in the table under it exactly while `is_named`.
Rule 2. What a worker may hold is decided in one place (peer_judge) whenever something about it changes.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from zproxy.broker.ring cimport Ring
from zproxy.broker.verdict cimport PEER_NONE, ROLE_COUNT, Role
from zproxy.names cimport Names

cdef enum:
    PEER_NAME_BYTES = 64

cdef enum RowKind:              # rows a peer may stand in, one link for each
    ROW_ABLE                    # workers that may find something waiting
    ROW_GOODBYE                 # those to whom GOODBYE is to be said
    ROW_ABSENT                  # nodes that may come back, with what they have open; who went first first
    ROW_REMEMBERED              # nodes that may come back, and have nothing open any more
    ROW_RESTING                 # workers that rest
    ROW_FORGET                  # nodes of whose outcomes some, or all, are to be forgotten
    ROW_COUNT

cdef struct Peer

cdef struct PeerLink:
    Peer* before
    Peer* after
    bint is_linked

cdef struct PeerQueue:
    Peer* first
    Peer* last

cdef struct Queue:              # of requests, by slot; request.pxd has what walks it
    uint32_t first              # REQUEST_NONE = empty
    uint32_t last
    uint32_t count

cdef struct Offering:           # a service that a worker offers
    uint32_t service            # its number
    uint32_t place              # of the worker among those who offer it
    bint is_guarded             # not idempotent

cdef struct Peer:               # what a pick looks at comes first, in one cache line
    Queue requests              # of a node: open ones and posts; of a worker: its leases, live or not
    uint32_t may_hold           # of a worker, requests that may be with it; 0: none for now
    uint32_t slot               # of its connection; PEER_NONE = absent or gone
    uint64_t in_flight_bytes    # of a worker, the messages of its leases
    uint64_t name_hash          # of its name alone, see policy.pxd
    uint32_t number             # its own as long as anybody knows it: owner in an Index
    uint32_t conversation       # never 0
    Role role
    bint is_named
    bint is_bound               # may have no other name than the one that is there from the beginning: its key's
    bint is_known               # HELLO or READY was accepted
    bint is_leaving             # said GOODBYE
    bint is_dismissed           # of a worker: the operator wants it to take no more in this conversation
    bint is_replaced
    bint is_forgetting          # of a node: its ring is being emptied
    bint is_usable              # its outbox has room, and it lives
    bint is_resting             # of a worker: it has failed too often
    uint8_t name_bytes
    uint8_t[PEER_NAME_BYTES] name
    uint64_t incarnation
    uint32_t references         # requests that know it
    uint64_t settled            # requests that came to an end with it
    uint64_t queued_bytes       # of a node's requests that nobody has, see budget.pxd
    uint64_t retained_bytes     # of a node's requests that workers have, see keeping.pxd
    uint64_t ticket             # the caller's, of its newest connection
    uint32_t permit             # which row of the rules is its own, see access.pxd
    int64_t left_ms             # of an absent node: when
    Ring ring                   # of a node

    bint has_step               # what it told last
    bint has_progress
    float progress
    uint64_t step
    int64_t told_ms

    uint32_t credit             # of a worker, as are all below
    Offering* offerings         # owned
    uint32_t offering_count
    uint32_t offering_capacity
    uint32_t turn               # which offering is served next
    uint32_t failures           # in a row, see rest.pxd
    uint32_t rests              # in a row
    int64_t failed_ms           # the last time
    int64_t rests_until_ms

    PeerLink[ROW_COUNT] links
    Peer* next_free

cdef struct Peers:              # owns all peers, the seats and `by_number`; see peers_open
    Peer** seats                # by slot; NULL = nobody
    uint32_t capacity
    Peer** by_number            # all that were made
    uint32_t number_capacity
    Peer* free
    uint32_t made               # so many there are, seated, gone and free
    uint32_t live               # of them seated, or known by a request
    Names[ROLE_COUNT] names     # name → number
    uint64_t random_state

# Empty, from zeroed. 0, or -1: no memory.
cdef int peers_open(Peers* peers, uint64_t seed) noexcept nogil
cdef void peers_close(Peers* peers) noexcept nogil

# A connection stands: its peer, unknown yet, in a new conversation. NULL: no memory.
cdef Peer* peer_seat(Peers* peers, uint32_t slot, Role role) noexcept nogil

# The only name it may have, of one that was just seated. No bytes: any.
cdef void peer_bind(Peer* peer, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# The connection is gone. The peer is free at once, or when it has no name and the last request forgets it.
cdef void peer_unseat(Peers* peers, Peer* peer) noexcept nogil

# An absent one, unnamed now, is free, at once or when the last request forgets it.
cdef void peer_dismiss(Peers* peers, Peer* peer) noexcept nogil

# A request forgets it.
cdef void peer_release(Peers* peers, Peer* peer) noexcept nogil

# Who has the name; NULL: nobody.
cdef Peer* peer_named(const Peers* peers, Role role, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# The name, which nobody has, becomes the peer's. 0, or -1: no memory.
cdef int peer_name(Peers* peers, Peer* peer, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# Its name is anybody's again. No-op for one who has none.
cdef void peer_unname(Peers* peers, Peer* peer) noexcept nogil

# `heir`, unknown yet, is the same peer come back: `peer` takes its seat, conversation, ticket and permit; its name and
# requests stay with it. `heir` is left behind, replaced, on the elder's seat; or free, where the elder was absent.
cdef void peer_move(Peers* peers, Peer* peer, Peer* heir) noexcept nogil

# Joins the row's end; no-op for one who stands in it. / Leaves it; no-op for one who does not.
cdef void row_enter(PeerQueue* row, Peer* peer, RowKind kind) noexcept nogil
cdef void row_leave(PeerQueue* row, Peer* peer, RowKind kind) noexcept nogil


cdef inline Peer* peer_at(const Peers* peers, uint32_t slot) noexcept nogil:
    return peers.seats[slot] if slot < peers.capacity else NULL


cdef inline bint peer_is_there(const Peer* peer) noexcept nogil:
    return peer.slot != <uint32_t>PEER_NONE


# What it may hold follows from all the rest.
cdef inline void peer_judge(Peer* peer) noexcept nogil:
    cdef bint may_take = peer.is_known and peer.is_usable and not peer.is_leaving
    may_take = may_take and not peer.is_dismissed and not peer.is_resting
    peer.may_hold = peer.credit if may_take else 0


cdef inline bint peer_is_able(const Peer* peer) noexcept nogil:
    return peer.requests.count < peer.may_hold


# FNV-1a, without a seed: a worker's keys find it through every proxy.
cdef inline uint64_t peer_hash(const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef uint64_t value = 0xCBF29CE484222325
    cdef uint8_t index
    for index in range(name_bytes):
        value = (value ^ name[index]) * <uint64_t>0x100000001B3
    return value
