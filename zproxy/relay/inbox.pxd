"""Inbox: bytes of one connection on their way to whole messages.

Called by the turn: prepare (where to read), accept (how much came), next (what is there) until NEED.

    small:  everything is parsed in the relay's one read buffer, which stays in the cache; a message cut off
            at its end waits in a SMALL block and is put back in front of the next read.
    large:  a message that needs more than a SMALL block is assembled in pooled blocks; the socket is read
            straight into them, so only what came before the size was known (at most one read) is copied.

Rule 1. Nothing of a message leaves before all of it is here.
Rule 2. A message that a command interrupts is assembled, however small: closing the gap in the read buffer instead
        would let a peer have 64 KiB moved for each command of 4 bytes.
Rule 3. An idle inbox holds no block.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.relay.block cimport Block, Message, Pool

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef enum:
    READ_BUFFER_BYTES = 65536       # fits the first-level caches' neighbourhood; more was not faster
    READ_DIRECT_BYTES = 262144      # most that one read puts into an assembly

cdef enum ItemKind:
    ITEM_NEED           # nothing whole is left; the rest is kept
    ITEM_MESSAGE        # whole, contiguous in the read buffer: bytes/count, valid until the next call
    ITEM_ASSEMBLED      # whole, in blocks: take inbox.assembly with message_join before the next call
    ITEM_COMMAND        # bytes/count of the command's body, valid until the next call
    ITEM_MALFORMED
    ITEM_TOO_LARGE      # count: bytes declared
    ITEM_NO_MEMORY

cdef struct Item:
    const uint8_t* bytes
    uint64_t count

cdef struct Inbox:                  # embedded in Connection, which owns it; zeroed means empty
    uint64_t max_message_bytes
    uint8_t* at                     # unparsed window in the read buffer, valid between accept and NEED
    uint8_t* end
    size_t scanned                  # bytes from `at` already walked: whole frames of an unfinished message
    Block* stash                    # rest of the last read; NULL when none
    Message assembly                # a large message so far
    uint64_t body_left              # bytes of the assembly's current frame still to come
    bint is_assembling
    bint has_more                   # the assembly's current frame carries MORE
    uint32_t frame_count            # of the assembly so far

# Fills `target` (two entries) with where the next read goes; returns how many entries, or -1: no memory.
cdef int inbox_prepare(Inbox* inbox, Pool* pool, uint8_t* read_buffer, iovec* target) noexcept nogil

# Tells that `count` bytes were read as prepared.
cdef void inbox_accept(Inbox* inbox, uint8_t* read_buffer, size_t count) noexcept nogil

# The next whole thing.
cdef ItemKind inbox_next(Inbox* inbox, Pool* pool, Item* item) noexcept nogil

# For the greeting, which is no frame: takes `count` bytes off the window, or keeps a shorter one for later
# (False). `*bytes` is the window and `*available` its size in either case.
cdef bint inbox_take(Inbox* inbox, Pool* pool, size_t count, const uint8_t** bytes, size_t* available) noexcept nogil

# Bytes that wait for the rest of their message.
cdef inline uint64_t inbox_pending(const Inbox* inbox) noexcept nogil:
    return inbox.assembly.bytes + (inbox.stash.fill if inbox.stash != NULL else 0)

# The memory its large message holds.
cdef inline uint64_t inbox_held(const Inbox* inbox) noexcept nogil:
    cdef uint64_t room = 0
    if inbox.assembly.tail != NULL:
        room = inbox.assembly.tail.block.capacity - inbox.assembly.tail.block.fill
    return inbox.assembly.bytes + room

# Does the next read go straight into its large message?
cdef inline bint inbox_is_direct(const Inbox* inbox) noexcept nogil:
    return inbox.is_assembling and inbox.body_left != 0

# Of `count` bytes read as prepared, those that went there.
cdef inline size_t inbox_direct(const Inbox* inbox, size_t count) noexcept nogil:
    cdef const Block* block = inbox.assembly.tail.block
    return min(min(min(<uint64_t>(block.capacity - block.fill), inbox.body_left), READ_DIRECT_BYTES), count)

# After a command: is there anything behind it in the window?
cdef inline bint inbox_has_more(const Inbox* inbox) noexcept nogil:
    return inbox.at != inbox.end

# Gives every block back.
cdef void inbox_clear(Inbox* inbox, Pool* pool) noexcept nogil
