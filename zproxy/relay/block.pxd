"""Block: pooled, reference-counted memory; slices of it; messages made of slices.

First touch of fresh memory costs more than any copy, so blocks are reused: a free list per class, last
given first taken (cache-warm). Blocks that lay idle since the last trim go back to the system.

    Message ─► Slice ─► Slice ─► Slice        a chain, moved whole and never copied
                 │        │        │
               Block    Block    Block        one reference for each slice

One pool belongs to one relay thread; nothing here locks.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum BlockClass:
    BLOCK_SMALL     # 4 KiB: handshakes, the beginning of a small message, a first reply
    BLOCK_MEDIUM    # 64 KiB: batches of small messages, the first MiB of a large one
    BLOCK_LARGE     # 2 MiB, aligned and advised to be one huge page: the rest of a large one
    BLOCK_CLASSES

cdef enum:
    SMALL_BYTES = 4096
    MEDIUM_BYTES = 65536
    LARGE_BYTES = 2097152

cdef struct Block:              # owned by its references; the last block_release returns it to the pool
    uint8_t* bytes
    uint32_t capacity           # bytes
    uint32_t fill               # bytes its only writer has put in
    uint32_t refs               # slices and holders that point here
    uint32_t block_class
    Block* next                 # in the pool's free list only

cdef enum SliceFlag:
    SLICE_OPEN = 1              # whole messages, copied in; its holder may append more
    SLICE_CONTINUES = 2         # begins inside a message that began in an earlier slice
    SLICE_WIRE = 4              # goes out as it is, whatever the mechanism: handshakes, boxes; never to anybody else

cdef struct Slice:              # owned by the chain it stands in; holds one reference to its block
    Block* block
    uint32_t offset
    uint32_t length
    uint32_t flags              # SliceFlag
    Slice* next                 # last: what the pool itself still reads of a free one

cdef struct Message:            # a chain of slices; zeroed means empty
    Slice* head
    Slice* tail
    uint64_t bytes              # sum of the slices' lengths

cdef struct Pool:               # owned by the relay
    uint64_t limit_bytes        # of live and pooled together: beyond, a block goes back to the system; 0 = none
    Block* free_blocks[BLOCK_CLASSES]
    uint32_t free_count[BLOCK_CLASSES]
    uint32_t idle_count[BLOCK_CLASSES]    # least free_count since the last trim: what nobody needed
    Slice* free_slices
    uint32_t free_slice_count
    uint64_t live_bytes         # blocks and slices in use: what --memory limits
    uint64_t pooled_bytes       # blocks kept for reuse
    uint64_t live_blocks
    uint64_t live_slices

# Frees everything the pool still keeps. Blocks in use are left alone (and are then leaks).
cdef void pool_clear(Pool* pool) noexcept nogil

# Returns half of the blocks that lay idle since the last call to the system. Caller: the relay, once a second.
# Returns the number still kept, so that an empty pool needs no further call.
cdef uint64_t pool_trim(Pool* pool) noexcept nogil

# A block with one reference and nothing in it, or NULL when the system has no memory.
cdef Block* block_take(Pool* pool, BlockClass block_class) noexcept nogil

# Gives one reference back.
cdef void block_release(Pool* pool, Block* block) noexcept nogil

# A slice of `block` (takes a reference of its own), or NULL when the system has no memory.
cdef Slice* slice_take(Pool* pool, Block* block, uint32_t offset, uint32_t length, uint32_t flags) noexcept nogil

# Gives the slice and its reference back; returns the slice after it.
cdef Slice* slice_release(Pool* pool, Slice* slice) noexcept nogil

# Copies `head` and `body`, together at most MEDIUM_BYTES, behind what was packed into `*packing` before, or into a
# fresh block, which takes its place. 0 and where they begin in `*offset`, or -1: no memory. The reference for them is
# the caller's to take.
cdef int block_pack(
    Pool* pool, Block** packing, const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes,
    uint32_t* offset
) noexcept nogil

# Where the next bytes of a message under assembly go: room in its last block, or in a fresh one whose size
# follows what has arrived so far (a sender's word for a length buys no memory). NULL: no memory.
# The caller writes at most `*room` bytes there and reports them with message_grow.
cdef uint8_t* message_room(Pool* pool, Message* message, size_t* room) noexcept nogil
cdef void message_grow(Message* message, size_t count) noexcept nogil

# Copies `count` bytes to the message's end. 0, or -1: no memory (the message stays valid, shorter).
cdef int message_append(Pool* pool, Message* message, const uint8_t* source, size_t count) noexcept nogil

# Moves all of `source` behind `message`; `source` is empty afterwards.
cdef void message_join(Message* message, Message* source) noexcept nogil

# A second message of the same bytes, which are shared: nobody may change them. 0, or -1: no memory (target is empty).
cdef int message_share(Pool* pool, const Message* source, Message* target) noexcept nogil

# Cuts `count` bytes off the front.
cdef void message_skip(Pool* pool, Message* message, uint64_t count) noexcept nogil

# Gives every slice back; the message is empty afterwards.
cdef void message_release(Pool* pool, Message* message) noexcept nogil


# A copy of all its bytes, for the probes.
cdef inline bytes message_bytes(const Message* message):
    cdef const Slice* slice = message.head
    parts = []
    while slice != NULL:
        parts.append((slice.block.bytes + slice.offset)[:slice.length])
        slice = slice.next
    return b"".join(parts)
