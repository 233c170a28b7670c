"""Backlog: whole requests that no worker could take yet.

First in, first out for each client, one request of each client in turn: who has a thousand waiting delays another by
one. Requests taken back from a worker that closed go before all others.

    recovered:  Parcel ─► Parcel                            first of all
    ring:       Lane(client) ─► Lane ─► Lane(orphans) ─┐    then in turn
                  └► Parcel ─► Parcel                  └► the first again

A lane is embedded in its client's connection. When the client goes, its requests move to the orphans' lane: they were
accepted. Small messages lie packed behind each other in shared blocks; large ones are moved in as they are.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.relay.block cimport Block, Message, Pool, Slice

cdef enum:
    OWNER_NONE = 0xFFFFFFFF
    FREE_PARCELS_KEPT = 65536   # 2.5 MiB; beyond that they go back to the system

cdef struct Parcel:             # owned by the backlog
    Parcel* after
    Message message             # as it goes to a worker: routing id frame in front

cdef struct Lane:               # embedded in Connection; zeroed means empty
    Parcel* first
    Parcel* last
    Lane* before                # in the ring of lanes that are not empty
    Lane* after
    uint32_t owner              # connection slot, or OWNER_NONE

cdef struct Backlog:            # owned by the relay; see backlog_open
    Lane* turn                  # whose turn it is; NULL = no lane waits
    Lane recovered
    Lane orphans
    Parcel* free_parcels
    uint32_t free_parcel_count
    Block* packing              # small messages are being packed into this block
    uint64_t count
    uint64_t bytes

# What a waiting message costs its client: its bytes and what keeps them, so that empty messages are not free.
cdef inline uint64_t parcel_charge(const Message* message) noexcept nogil:
    return message.bytes + sizeof(Parcel) + sizeof(Slice)

# Empty, from zeroed.
cdef void backlog_open(Backlog* backlog) noexcept nogil

# Copies `head` and `body` behind each other into a message, packed with others. 0, or -1: no memory.
cdef int backlog_pack(
    Backlog* backlog, Pool* pool, const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes,
    Message* message
) noexcept nogil

# Appends `message`, which is empty afterwards, to a lane. 0, or -1: no memory (the message is still the caller's).
cdef int backlog_push(Backlog* backlog, Pool* pool, Lane* lane, Message* message) noexcept nogil

# Takes the next out and tells whose it is: 1, or 0 when there is none. The message is the caller's now.
cdef int backlog_pop(Backlog* backlog, Pool* pool, Message* message, uint32_t* owner) noexcept nogil

# The lane's client goes: what waits stays, nobody's. The lane is empty afterwards.
cdef void backlog_orphan(Backlog* backlog, Lane* lane) noexcept nogil

# Drops everything; returns how many.
cdef uint64_t backlog_clear(Backlog* backlog, Pool* pool) noexcept nogil
