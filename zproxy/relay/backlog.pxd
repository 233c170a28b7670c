"""Backlog: whole requests that no worker could take yet, first in, first out.

    first ─► Parcel(owner, Message) ─► Parcel ─► Parcel ◄─ last

Small messages lie packed behind each other in shared blocks; large ones are moved in as they are. A parcel is
charged to the connection it came from until it leaves, so its owner is kept with it.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.relay.block cimport Block, Message, Pool, Slice

cdef struct Parcel:             # owned by the backlog
    Parcel* after
    Message message             # as it goes to a worker: routing id frame in front
    uint32_t owner              # connection slot …
    uint32_t generation         # … and its generation: the owner may have gone

cdef struct Backlog:            # owned by the relay; zeroed means empty
    Parcel* first
    Parcel* last
    Block* packing              # small messages are being packed into this block
    uint64_t count
    uint64_t bytes

# What a waiting message costs its client: its bytes and what keeps them, so that empty messages are not free.
cdef inline uint64_t parcel_charge(const Message* message) noexcept nogil:
    return message.bytes + sizeof(Parcel) + sizeof(Slice)

# Copies `head` and `body` behind each other into a message, packed with others. 0, or -1: no memory.
cdef int backlog_pack(
    Backlog* backlog, Pool* pool, const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes,
    Message* message
) noexcept nogil

# Appends `message`, which is empty afterwards. 0, or -1: no memory (the message is still the caller's).
cdef int backlog_push(
    Backlog* backlog, Pool* pool, Message* message, uint32_t owner, uint32_t generation
) noexcept nogil

# Takes the oldest out: 1, or 0 when there is none. The message is the caller's now.
cdef int backlog_pop(Backlog* backlog, Pool* pool, Parcel* parcel) noexcept nogil

# Puts all of `older` in front; it is empty afterwards.
cdef void backlog_prepend(Backlog* backlog, Pool* pool, Backlog* older) noexcept nogil

# Drops everything; returns how many.
cdef uint64_t backlog_clear(Backlog* backlog, Pool* pool) noexcept nogil
