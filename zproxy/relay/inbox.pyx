"""Inbox: bytes of one connection on their way to whole messages; see inbox.pxd for the contract.

`InboxProbe` drives one alone, for the tests.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from zproxy.relay.block cimport (
    BLOCK_SMALL, SMALL_BYTES, Pool, Slice, block_release, block_take, message_append, message_grow,
    message_release, message_room, pool_clear
)
from zproxy.relay.zmtp cimport (
    FRAME_MORE, SCAN_COMMAND, SCAN_MALFORMED, SCAN_MESSAGE, SCAN_NEED, SCAN_TOO_LARGE, Frame, ScanCode,
    frame_fits, frame_read, message_scan
)


cdef int inbox_prepare(Inbox* inbox, Pool* pool, uint8_t* read_buffer, iovec* target) noexcept nogil:
    cdef size_t kept = 0
    cdef size_t room = 0
    if inbox.is_assembling and inbox.body_left:
        target[0].iov_base = message_room(pool, &inbox.assembly, &room)
        if target[0].iov_base == NULL:
            return -1
        target[0].iov_len = min(min(room, inbox.body_left), READ_DIRECT_BYTES)
        if target[0].iov_len < inbox.body_left:
            return 1
        target[1].iov_base = read_buffer
        target[1].iov_len = READ_BUFFER_BYTES
        return 2
    if inbox.stash != NULL:
        kept = inbox.stash.fill
        memcpy(read_buffer, inbox.stash.bytes, kept)
    target[0].iov_base = read_buffer + kept
    target[0].iov_len = READ_BUFFER_BYTES - kept
    return 1


cdef void inbox_accept(Inbox* inbox, uint8_t* read_buffer, size_t count) noexcept nogil:
    cdef size_t direct
    cdef size_t room
    cdef size_t kept = 0
    if inbox.is_assembling and inbox.body_left:
        room = inbox.assembly.tail.block.capacity - inbox.assembly.tail.block.fill
        direct = min(min(min(room, inbox.body_left), READ_DIRECT_BYTES), count)
        message_grow(&inbox.assembly, direct)
        inbox.body_left -= direct
        count -= direct
    elif inbox.stash != NULL:
        kept = inbox.stash.fill
    inbox.at = read_buffer
    inbox.end = read_buffer + kept + count


# Keeps the window for the next read. ITEM_NEED, or ITEM_NO_MEMORY.
cdef ItemKind inbox_keep(Inbox* inbox, Pool* pool) noexcept nogil:
    cdef size_t count = inbox.end - inbox.at
    if count == 0:
        if inbox.stash != NULL:
            block_release(pool, inbox.stash)
            inbox.stash = NULL
        return ITEM_NEED
    if inbox.stash == NULL:
        inbox.stash = block_take(pool, BLOCK_SMALL)
        if inbox.stash == NULL:
            return ITEM_NO_MEMORY
    memcpy(inbox.stash.bytes, inbox.at, count)
    inbox.stash.fill = <unsigned int>count
    inbox.at = inbox.end
    return ITEM_NEED


# Moves `count` bytes of the window to the assembly.
cdef bint inbox_move(Inbox* inbox, Pool* pool, size_t count) noexcept nogil:
    if message_append(pool, &inbox.assembly, inbox.at, count) != 0:
        return False
    inbox.at += count
    return True


# The next header of an assembly is in the window: its frame joins the assembly.
cdef bint assembly_open_frame(Inbox* inbox, Pool* pool, const Frame* frame) noexcept nogil:
    inbox.body_left = frame.body_bytes
    inbox.has_more = (frame.flags & FRAME_MORE) != 0
    return inbox_move(inbox, pool, frame.header_bytes)


cdef ItemKind command_take(Inbox* inbox, Item* item, const Frame* frame, size_t offset) noexcept nogil:
    item.bytes = inbox.at + offset + frame.header_bytes
    item.count = frame.body_bytes
    return ITEM_COMMAND


cdef ItemKind too_large(Item* item, const Frame* frame, uint64_t offset) noexcept nogil:
    item.count = offset + frame.body_bytes
    return ITEM_TOO_LARGE


cdef ItemKind assembly_next(Inbox* inbox, Pool* pool, Item* item) noexcept nogil:
    cdef Frame frame
    cdef ScanCode code
    cdef size_t count
    while True:
        count = min(<uint64_t>(inbox.end - inbox.at), inbox.body_left)
        if count and not inbox_move(inbox, pool, count):
            return ITEM_NO_MEMORY
        inbox.body_left -= count
        if inbox.body_left:
            return inbox_keep(inbox, pool)
        if not inbox.has_more:
            inbox.is_assembling = False
            return ITEM_ASSEMBLED
        count = inbox.end - inbox.at
        code = frame_read(inbox.at, count, &frame)
        if code == SCAN_NEED:
            return inbox_keep(inbox, pool)
        if code == SCAN_MALFORMED:
            return ITEM_MALFORMED
        if not frame_fits(&frame, inbox.assembly.bytes, inbox.max_message_bytes):
            return too_large(item, &frame, inbox.assembly.bytes)
        if code == SCAN_MESSAGE:
            if not assembly_open_frame(inbox, pool, &frame):
                return ITEM_NO_MEMORY
            continue
        if frame.header_bytes + frame.body_bytes > count:
            return inbox_keep(inbox, pool)
        command_take(inbox, item, &frame, 0)
        inbox.at += frame.header_bytes + frame.body_bytes
        return ITEM_COMMAND


# An unfinished message outgrew the stash: what is here of it moves to an assembly.
cdef ItemKind assembly_begin(Inbox* inbox, Pool* pool, Item* item, const Frame* frame) noexcept nogil:
    inbox.is_assembling = True
    inbox.has_more = True       # of the frames walked so far; the one cut off is opened by assembly_next
    inbox.body_left = 0
    if not inbox_move(inbox, pool, inbox.scanned):
        return ITEM_NO_MEMORY
    inbox.scanned = 0
    return assembly_next(inbox, pool, item)


cdef ItemKind inbox_next(Inbox* inbox, Pool* pool, Item* item) noexcept nogil:
    cdef Frame frame
    cdef ScanCode code
    cdef size_t count
    if inbox.is_assembling:
        return assembly_next(inbox, pool, item)
    if inbox.gap:
        memmove(inbox.at + inbox.gap, inbox.at, inbox.scanned)
        inbox.at += inbox.gap
        inbox.gap = 0
    count = inbox.end - inbox.at
    code = message_scan(inbox.at, count, inbox.max_message_bytes, &inbox.scanned, &frame)
    if code == SCAN_MESSAGE:
        item.bytes = inbox.at
        item.count = inbox.scanned
        inbox.at += inbox.scanned
        inbox.scanned = 0
        return ITEM_MESSAGE
    if code == SCAN_NEED:
        if inbox.scanned + frame.header_bytes + frame.body_bytes > SMALL_BYTES or count > SMALL_BYTES:
            return assembly_begin(inbox, pool, item, &frame)
        return inbox_keep(inbox, pool)
    if code == SCAN_COMMAND:
        inbox.gap = frame.header_bytes + <size_t>frame.body_bytes
        return command_take(inbox, item, &frame, inbox.scanned)
    if code == SCAN_TOO_LARGE:
        return too_large(item, &frame, inbox.scanned)
    return ITEM_MALFORMED


cdef bint inbox_take(Inbox* inbox, Pool* pool, size_t count, const uint8_t** bytes, size_t* available) noexcept nogil:
    bytes[0] = inbox.at
    available[0] = inbox.end - inbox.at
    if available[0] < count:
        inbox_keep(inbox, pool)
        return False
    inbox.at += count
    return True


cdef void inbox_clear(Inbox* inbox, Pool* pool) noexcept nogil:
    message_release(pool, &inbox.assembly)
    if inbox.stash != NULL:
        block_release(pool, inbox.stash)
    memset(inbox, 0, sizeof(Inbox))


cdef class InboxProbe:
    """One inbox by itself: bytes in, whole messages and commands out, exactly as the relay sees them."""

    cdef Inbox inbox
    cdef Pool pool
    cdef uint8_t* read_buffer

    def __cinit__(self, max_message_bytes=1 << 30):
        self.read_buffer = <uint8_t*>malloc(READ_BUFFER_BYTES)
        if self.read_buffer == NULL:
            raise MemoryError
        self.inbox.max_message_bytes = max_message_bytes

    def __dealloc__(self):
        inbox_clear(&self.inbox, &self.pool)
        pool_clear(&self.pool)
        free(self.read_buffer)

    def feed(self, data):
        """What became whole with these bytes: ("message", wire bytes), ("command", body), or one of
        ("malformed", b""), ("too_large", declared bytes), after which the inbox must not be fed again."""
        cdef iovec[2] target
        cdef const uint8_t[::1] source = data
        cdef size_t offset = 0
        cdef size_t taken
        cdef size_t part
        cdef int index
        found = []
        while offset < <size_t>source.shape[0]:
            taken = 0
            for index in range(self._prepare(target)):
                part = min(target[index].iov_len, <size_t>source.shape[0] - offset - taken)
                if part:
                    memcpy(target[index].iov_base, &source[offset + taken], part)
                taken += part
            offset += taken
            inbox_accept(&self.inbox, self.read_buffer, taken)
            if not self._drain(found):
                break
        return found

    cdef int _prepare(self, iovec* target) except -1:
        cdef int entries = inbox_prepare(&self.inbox, &self.pool, self.read_buffer, target)
        if entries < 0:
            raise MemoryError
        return entries

    cdef bint _drain(self, list found) except -1:
        cdef Item item
        cdef ItemKind kind
        while True:
            kind = inbox_next(&self.inbox, &self.pool, &item)
            if kind == ITEM_NEED:
                return True
            if kind == ITEM_MESSAGE:
                found.append(("message", item.bytes[:item.count]))
            elif kind == ITEM_ASSEMBLED:
                found.append(("message", self._take_assembly()))
            elif kind == ITEM_COMMAND:
                found.append(("command", item.bytes[:item.count]))
            elif kind == ITEM_NO_MEMORY:
                raise MemoryError
            else:
                found.append(("malformed", b"") if kind == ITEM_MALFORMED else ("too_large", item.count))
                return False

    cdef bytes _take_assembly(self):
        cdef Slice* slice = self.inbox.assembly.head
        parts = []
        while slice != NULL:
            parts.append((slice.block.bytes + slice.offset)[:slice.length])
            slice = slice.next
        message_release(&self.pool, &self.inbox.assembly)
        return b"".join(parts)

    @property
    def live_blocks(self):
        """Blocks in use: 0 whenever nothing incomplete is pending."""
        return self.pool.live_blocks
