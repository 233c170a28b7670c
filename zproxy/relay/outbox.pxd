"""Outbox: slices one connection still has to write.

Called by the turn only. Never blocks, never looks into a frame while the connection lives.

    head ─►[written|rest][slice][slice]◄─ tail
            └ head_written

Small messages are copied behind each other into one open slice: a copy in the cache costs less than an entry
of its own in writev. Large ones are linked in as they are.

Of a connection with a cipher only what stands in front as SLICE_WIRE is written; the cipher puts it there.

Rule 1. A message enters whole or not at all.
Rule 2. A slice is released when its last byte left, or on close; until then its start still stands, so what was
        never written can be counted, or given to somebody else.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zproxy.relay.block cimport SLICE_OPEN, Block, Message, Pool, Slice

cdef enum:
    FLUSH_SLICES = 64           # entries of one writev
    FLUSH_BYTES = 1048576       # most one connection writes in a turn; then the others have theirs

cdef enum FlushCode:
    FLUSH_DONE                  # empty
    FLUSH_AGAIN                 # wrote its share of this turn, more may be taken
    FLUSH_BLOCKED               # the socket is full; wait until it is writable
    FLUSH_FAILED                # the connection is broken

cdef struct Outbox:             # embedded in Connection, which owns it; zeroed means empty
    Slice* head
    Slice* tail
    uint32_t head_written       # bytes of the head slice that have left
    uint64_t bytes              # still to write
    uint64_t bytes_written      # since the connection began

# Room for `count` contiguous bytes at the end, to be filled at once; NULL: no memory.
# `flags`: SLICE_OPEN for whole messages, or for the first part of one whose rest follows with outbox_link.
cdef uint8_t* outbox_open(Outbox* outbox, Pool* pool, size_t count, uint32_t flags) noexcept nogil

# Links a whole chain in; `message` is empty afterwards.
cdef void outbox_link(Outbox* outbox, Message* message) noexcept nogil

# Writes what the socket takes, at most FLUSH_BYTES; of slices with these flags only, as far as they stand in front.
cdef FlushCode outbox_flush(Outbox* outbox, Pool* pool, int fd, uint32_t flags) noexcept nogil

# Copies what goes out as it is to the end. 0, or -1: no memory.
cdef int outbox_wire(Outbox* outbox, Pool* pool, const uint8_t* bytes, size_t count) noexcept nogil

# Cuts the first `count` bytes, within one slice, off what is to be written.
cdef void outbox_cut(Outbox* outbox, Pool* pool, uint32_t count) noexcept nogil

# Puts slices that go out as they are in front; `wire` is empty afterwards.
cdef void outbox_front(Outbox* outbox, Message* wire) noexcept nogil

# Gives up the slice in front and all that continue it.
cdef void outbox_drop_message(Outbox* outbox, Pool* pool) noexcept nogil

# Gives up what stands in front and goes out as it is; its bytes.
cdef uint64_t outbox_drop_wire(Outbox* outbox, Pool* pool) noexcept nogil

# Takes the messages out of which nothing was written yet, oldest first, one a call. Only when the connection
# is closed: 1 one taken, 0 none left. `*torn` grows by a message that was partly written, and is lost.
cdef int outbox_reclaim(Outbox* outbox, Pool* pool, Message* message, uint64_t* torn) noexcept nogil

# Gives everything back.
cdef void outbox_clear(Outbox* outbox, Pool* pool) noexcept nogil


# The same room without a call, when the open slice has it: the hot path.
cdef inline uint8_t* outbox_room(Outbox* outbox, Pool* pool, size_t count) noexcept nogil:
    cdef Slice* tail = outbox.tail
    cdef Block* block
    if tail == NULL or not tail.flags & SLICE_OPEN or tail.block.capacity - tail.block.fill < count:
        return outbox_open(outbox, pool, count, SLICE_OPEN)
    block = tail.block
    block.fill += <uint32_t>count
    tail.length += <uint32_t>count
    outbox.bytes += count
    return block.bytes + block.fill - count
