"""Inbox: bytes of one connection on their way to whole messages; see inbox.pxd for the contract.

`InboxProbe` drives one alone, for the tests.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from zproxy.relay.block cimport (
    BLOCK_SMALL, SMALL_BYTES, Pool, block_release, block_take, message_append, message_bytes, message_grow,
    message_release, message_room, pool_clear
)
from zproxy.relay.checks cimport memory_poison, memory_unpoison
from zproxy.relay.zmtp cimport (
    FRAME_MORE, SCAN_COMMAND, SCAN_MALFORMED, SCAN_MESSAGE, SCAN_NEED, SCAN_TOO_LARGE, Frame, ScanCode, frame_fits,
    frame_read, frames_count, message_scan
)


cdef int inbox_prepare(Inbox* inbox, Pool* pool, uint8_t* read_buffer, iovec* target) noexcept nogil:
    cdef size_t kept = 0
    cdef size_t room = 0
    if inbox_is_direct(inbox):
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
    cdef size_t kept = 0
    if inbox_is_direct(inbox):
        direct = inbox_direct(inbox, count)
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
    inbox.frame_count += 1
    return inbox_move(inbox, pool, frame.header_bytes)


# The whole command that the window begins with.
cdef ItemKind command_take(Inbox* inbox, Item* item, const Frame* frame) noexcept nogil:
    item.bytes = inbox.at + frame.header_bytes
    item.count = frame.body_bytes
    inbox.at += frame.header_bytes + frame.body_bytes
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
        return command_take(inbox, item, &frame)


# An unfinished message outgrew the stash, or is interrupted: what is here of it moves to an assembly.
cdef ItemKind assembly_begin(Inbox* inbox, Pool* pool, Item* item) noexcept nogil:
    inbox.is_assembling = True
    inbox.has_more = True       # of the frames walked so far; the one cut off is opened by assembly_next
    inbox.body_left = 0
    inbox.frame_count = frames_count(inbox.at, inbox.scanned)
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
            return assembly_begin(inbox, pool, item)
        return inbox_keep(inbox, pool)
    if code == SCAN_COMMAND:
        return command_take(inbox, item, &frame) if inbox.scanned == 0 else assembly_begin(inbox, pool, item)
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
    cdef size_t greeting_left

    def __cinit__(self, uint64_t max_message_bytes=1 << 30, size_t greeting_bytes=0):
        self.read_buffer = <uint8_t*>malloc(READ_BUFFER_BYTES)
        if self.read_buffer == NULL:
            raise MemoryError
        self.inbox.max_message_bytes = max_message_bytes
        self.greeting_left = greeting_bytes

    def __dealloc__(self):
        self.clear()
        pool_clear(&self.pool)
        free(self.read_buffer)

    def feed(self, const uint8_t[::1] source):
        """What became whole with these bytes, each read as large as the inbox takes it.

        ("greeting", its bytes) first where one was asked for; ("message", wire bytes), ("command", body); or, as the
        last, after which the inbox must not be fed again, ("malformed", b"") or ("too_large", declared bytes).
        """
        cdef size_t left = source.shape[0]
        cdef const uint8_t* bytes = &source[0] if left else NULL
        cdef size_t taken
        found = []
        while left:
            taken = self._read(bytes, left)
            bytes += taken
            left -= taken
            if not self._drain(found):
                break
        return found

    def clear(self):
        """The connection's end: what is unfinished is given up."""
        inbox_clear(&self.inbox, &self.pool)

    # One read, as readv(2) would fill what the inbox prepared. What it left of the read buffer is out of bounds.
    cdef size_t _read(self, const uint8_t* bytes, size_t count) except 0:
        cdef iovec[2] target
        cdef size_t taken = 0
        cdef size_t part
        cdef int index
        cdef int entries
        memory_unpoison(self.read_buffer, READ_BUFFER_BYTES)
        entries = inbox_prepare(&self.inbox, &self.pool, self.read_buffer, target)
        if entries < 0:
            raise MemoryError
        for index in range(entries):
            part = min(target[index].iov_len, count - taken)
            if part:
                memcpy(target[index].iov_base, bytes + taken, part)
            taken += part
        inbox_accept(&self.inbox, self.read_buffer, taken)
        memory_poison(self.inbox.end, READ_BUFFER_BYTES - (self.inbox.end - self.read_buffer))
        return taken

    cdef bint _take_greeting(self, list found):
        cdef const uint8_t* bytes = NULL
        cdef size_t available = 0
        if not inbox_take(&self.inbox, &self.pool, self.greeting_left, &bytes, &available):
            return False
        found.append(("greeting", bytes[:self.greeting_left]))
        self.greeting_left = 0
        return True

    # False: it must not be fed again.
    cdef bint _drain(self, list found) except -1:
        cdef Item item
        cdef ItemKind kind
        if self.greeting_left and not self._take_greeting(found):
            return True
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
        taken = message_bytes(&self.inbox.assembly)
        message_release(&self.pool, &self.inbox.assembly)
        return taken

    @property
    def pending_bytes(self):
        """Bytes that wait for the rest of their message or command."""
        return inbox_pending(&self.inbox)

    @property
    def live_blocks(self):
        """Blocks in use: 0 whenever nothing incomplete is pending."""
        return self.pool.live_blocks

    @property
    def live_bytes(self):
        """Memory in use, as the relay charges it."""
        return self.pool.live_bytes
