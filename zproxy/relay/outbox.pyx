"""Outbox: slices one connection still has to write; see outbox.pxd for the contract. `OutboxProbe` is for the tests."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from zproxy.relay.block cimport (
    BLOCK_MEDIUM, BLOCK_SMALL, MEDIUM_BYTES, SLICE_CONTINUES, SLICE_OPEN, SLICE_WIRE, SMALL_BYTES, Block, Message, Pool,
    Slice, block_release, block_take, message_append, message_bytes, message_release, pool_clear, slice_release,
    slice_take
)
from zproxy.relay.inbox cimport iovec
from zproxy.relay.zmtp cimport SCAN_COMMAND, SCAN_MESSAGE, SCAN_NEED, Frame, ScanCode, message_scan

cdef extern from "<sys/socket.h>" nogil:
    int MSG_NOSIGNAL
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void* source, size_t count, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)


cdef void outbox_chain(Outbox* outbox, Slice* head, Slice* tail) noexcept nogil:
    if outbox.tail == NULL:
        outbox.head = head
    else:
        outbox.tail.next = head
    outbox.tail = tail


cdef uint8_t* outbox_open(Outbox* outbox, Pool* pool, size_t count, uint32_t flags) noexcept nogil:
    cdef Block* block
    cdef Slice* slice
    if count > MEDIUM_BYTES:
        return NULL
    block = block_take(pool, BLOCK_SMALL if outbox.bytes == 0 and count <= SMALL_BYTES else BLOCK_MEDIUM)
    if block == NULL:
        return NULL
    slice = slice_take(pool, block, 0, <uint32_t>count, flags)
    block_release(pool, block)
    if slice == NULL:
        return NULL
    block.fill = <uint32_t>count
    outbox_chain(outbox, slice, slice)
    outbox.bytes += count
    return block.bytes


cdef void outbox_link(Outbox* outbox, Message* message) noexcept nogil:
    outbox_chain(outbox, message.head, message.tail)
    outbox.bytes += message.bytes
    memset(message, 0, sizeof(Message))


cdef int outbox_wire(Outbox* outbox, Pool* pool, const uint8_t* bytes, size_t count) noexcept nogil:
    cdef uint8_t* target = outbox_open(outbox, pool, count, SLICE_WIRE)
    if target == NULL:
        return -1
    memcpy(target, bytes, count)
    return 0


# Fills `target` with the slices to write next, up to FLUSH_BYTES; returns the entries.
cdef int flush_gather(const Outbox* outbox, iovec* target, uint32_t flags) noexcept nogil:
    cdef Slice* slice = outbox.head
    cdef uint32_t skip = outbox.head_written
    cdef size_t gathered = 0
    cdef int entries = 0
    while slice != NULL and slice.flags & flags == flags and entries < FLUSH_SLICES and gathered < FLUSH_BYTES:
        target[entries].iov_base = slice.block.bytes + slice.offset + skip
        target[entries].iov_len = min(<size_t>(slice.length - skip), FLUSH_BYTES - gathered)
        gathered += target[entries].iov_len
        entries += 1
        skip = 0
        slice = slice.next
    return entries


# `count` bytes have left.
cdef void flush_advance(Outbox* outbox, Pool* pool, size_t count) noexcept nogil:
    cdef size_t rest
    outbox.bytes -= count
    outbox.bytes_written += count
    while count:
        rest = outbox.head.length - outbox.head_written
        if count < rest:
            outbox.head_written += <uint32_t>count
            return
        count -= rest
        outbox.head = slice_release(pool, outbox.head)
        outbox.head_written = 0
    if outbox.head == NULL:
        outbox.tail = NULL


# What the socket takes of these, or -1. A single one is sent without the cost of a vector.
cdef ssize_t slices_send(int fd, iovec* target, int entries) noexcept nogil:
    cdef msghdr header
    if entries == 1:
        return send(fd, target[0].iov_base, target[0].iov_len, MSG_NOSIGNAL)
    memset(&header, 0, sizeof(header))
    header.msg_iov = target
    header.msg_iovlen = entries
    return sendmsg(fd, &header, MSG_NOSIGNAL)


cdef FlushCode outbox_flush(Outbox* outbox, Pool* pool, int fd, uint32_t flags) noexcept nogil:
    cdef iovec[FLUSH_SLICES] target
    cdef ssize_t written
    cdef size_t total = 0
    while outbox.head != NULL and outbox.head.flags & flags == flags:
        if total >= FLUSH_BYTES:
            return FLUSH_AGAIN
        written = slices_send(fd, target, flush_gather(outbox, target, flags))
        if written < 0:
            if errno == EINTR:
                continue
            return FLUSH_BLOCKED if errno == EAGAIN else FLUSH_FAILED
        flush_advance(outbox, pool, <size_t>written)
        total += written
    return FLUSH_DONE


cdef void outbox_cut(Outbox* outbox, Pool* pool, uint32_t count) noexcept nogil:
    cdef Slice* head = outbox.head
    outbox.bytes -= count
    head.offset += count
    head.length -= count
    if head.length == 0:
        outbox.head = slice_release(pool, head)
        if outbox.head == NULL:
            outbox.tail = NULL


# The whole unit (message or command) an open head slice begins with: its kind, and its bytes in `*count`.
# SCAN_NEED: a message that goes on in the next slice.
cdef ScanCode head_unit(const Outbox* outbox, uint32_t* count) noexcept nogil:
    cdef Frame frame
    cdef size_t scanned = 0
    cdef const Slice* head = outbox.head
    cdef ScanCode code = message_scan(
        head.block.bytes + head.offset, head.length, <uint64_t>1 << 62, &scanned, &frame
    )
    if code == SCAN_COMMAND:
        scanned += frame.header_bytes + <size_t>frame.body_bytes
    count[0] = <uint32_t>scanned
    return code


cdef void outbox_front(Outbox* outbox, Message* wire) noexcept nogil:
    cdef Slice* slice = wire.head
    while slice != NULL:
        slice.flags = SLICE_WIRE
        slice = slice.next
    wire.tail.next = outbox.head
    outbox.head = wire.head
    if outbox.tail == NULL:
        outbox.tail = wire.tail
    memset(wire, 0, sizeof(Message))


cdef uint64_t outbox_drop_wire(Outbox* outbox, Pool* pool) noexcept nogil:
    cdef uint64_t left = outbox.bytes
    outbox.bytes += outbox.head_written     # the head slice counts whole from here on
    outbox.head_written = 0
    while outbox.head != NULL and outbox.head.flags & SLICE_WIRE:
        outbox_cut(outbox, pool, outbox.head.length)
    return left - outbox.bytes


cdef void outbox_drop_message(Outbox* outbox, Pool* pool) noexcept nogil:
    outbox_cut(outbox, pool, outbox.head.length)
    while outbox.head != NULL and outbox.head.flags & SLICE_CONTINUES:
        outbox_cut(outbox, pool, outbox.head.length)


# Drops what was written, and the rest of a message of which only a part was: that one is torn.
cdef void written_drop(Outbox* outbox, Pool* pool, uint64_t* torn) noexcept nogil:
    cdef uint32_t written = outbox.head_written
    cdef uint32_t count = 0
    cdef ScanCode code
    outbox.bytes += written             # the head slice counts whole from here on
    outbox.head_written = 0
    while written and outbox.head.flags & SLICE_OPEN:
        code = head_unit(outbox, &count)
        if code == SCAN_NEED:
            break                       # written into a message that goes on in the next slice
        outbox_cut(outbox, pool, count)
        if count > written:
            torn[0] += code == SCAN_MESSAGE
            return
        written -= count
    if written or (outbox.head != NULL and outbox.head.flags & SLICE_CONTINUES):
        torn[0] += 1
        outbox_drop_message(outbox, pool)


# Takes the first `count` bytes of the head slice out as a message.
cdef int head_take_unit(Outbox* outbox, Pool* pool, uint32_t count, Message* message) noexcept nogil:
    cdef Slice* slice = slice_take(pool, outbox.head.block, outbox.head.offset, count, 0)
    if slice == NULL:
        return 0
    message.head = message.tail = slice
    message.bytes = count
    outbox_cut(outbox, pool, count)
    return 1


# Takes the head slice and all that continue it out as a message.
cdef int head_take_chain(Outbox* outbox, Message* message) noexcept nogil:
    message.head = message.tail = outbox.head
    message.bytes = outbox.head.length
    message.head.flags = 0
    outbox.head = outbox.head.next
    while outbox.head != NULL and outbox.head.flags & SLICE_CONTINUES:
        message.tail = outbox.head
        message.bytes += outbox.head.length
        outbox.head = outbox.head.next
    message.tail.next = NULL
    outbox.bytes -= message.bytes
    if outbox.head == NULL:
        outbox.tail = NULL
    return 1


cdef int outbox_reclaim(Outbox* outbox, Pool* pool, Message* message, uint64_t* torn) noexcept nogil:
    cdef ScanCode code
    cdef uint32_t count = 0
    if outbox.head != NULL and outbox.head.flags & SLICE_WIRE:
        outbox_drop_wire(outbox, pool)
    if outbox.head != NULL and (outbox.head_written or outbox.head.flags & SLICE_CONTINUES):
        written_drop(outbox, pool, torn)
    while outbox.head != NULL:
        if outbox.head.flags & SLICE_WIRE:
            outbox_drop_wire(outbox, pool)
            continue
        if not outbox.head.flags & SLICE_OPEN:
            return head_take_chain(outbox, message)
        code = head_unit(outbox, &count)
        if code == SCAN_MESSAGE:
            return head_take_unit(outbox, pool, count, message)
        if code == SCAN_NEED:
            return head_take_chain(outbox, message)
        outbox_cut(outbox, pool, count)   # a command of our own: not for anybody else
    return 0


cdef void outbox_clear(Outbox* outbox, Pool* pool) noexcept nogil:
    while outbox.head != NULL:
        outbox.head = slice_release(pool, outbox.head)
    memset(outbox, 0, sizeof(Outbox))


# The order of FlushCode.
FLUSH_CODES = ("done", "again", "blocked", "failed")


cdef class OutboxProbe:
    """One outbox by itself: messages and commands in, bytes out, and back what was never written."""

    cdef Outbox outbox
    cdef Pool pool

    def __dealloc__(self):
        self.clear()
        pool_clear(&self.pool)

    def copy(self, bytes unit):
        """A whole message or command of at most MEDIUM_BYTES, copied behind the others."""
        cdef uint8_t* target = outbox_room(&self.outbox, &self.pool, len(unit))
        if target == NULL:
            raise MemoryError
        memcpy(target, <const char*>unit, len(unit))

    def wire(self, bytes unit):
        """What goes out as it is, of at most MEDIUM_BYTES, copied behind the others."""
        if outbox_wire(&self.outbox, &self.pool, <const uint8_t*><const char*>unit, len(unit)) != 0:
            raise MemoryError

    def link(self, bytes head, bytes body):
        """A message: `head` (whole frames, may be empty) copied, `body` linked in as blocks of its own."""
        cdef Message message
        memset(&message, 0, sizeof(Message))
        if message_append(&self.pool, &message, <const uint8_t*><const char*>body, len(body)) != 0:
            message_release(&self.pool, &message)
            raise MemoryError
        if head:
            self.copy(head)
            message.head.flags |= SLICE_CONTINUES
        outbox_link(&self.outbox, &message)

    def flush(self, int fd):
        """One of FLUSH_CODES."""
        cdef FlushCode code
        with nogil:
            code = outbox_flush(&self.outbox, &self.pool, fd, 0)
        return FLUSH_CODES[<int>code]

    def write(self, size_t count):
        """`count` bytes leave, as if a socket had taken just so many: those bytes."""
        cdef iovec[FLUSH_SLICES] target
        cdef int index
        cdef int entries
        cdef size_t part
        parts = []
        while count:
            entries = flush_gather(&self.outbox, target, 0)
            if entries == 0:
                raise ValueError("there is less to write")
            for index in range(entries):
                part = min(target[index].iov_len, count)
                parts.append((<const uint8_t*>target[index].iov_base)[:part])
                count -= part
            flush_advance(&self.outbox, &self.pool, sum(map(len, parts[-entries:])))
        return b"".join(parts)

    def reclaim(self):
        """(the messages nothing was written of, messages torn); the outbox is empty afterwards."""
        cdef Message message
        cdef uint64_t torn = 0
        messages = []
        while outbox_reclaim(&self.outbox, &self.pool, &message, &torn):
            messages.append(message_bytes(&message))
            message_release(&self.pool, &message)
        return messages, torn

    def reroute(self):
        """Reclaims, and links what came back in again, as into another worker's outbox: messages torn."""
        cdef Message message
        cdef Outbox other
        cdef uint64_t torn = 0
        memset(&other, 0, sizeof(Outbox))
        while outbox_reclaim(&self.outbox, &self.pool, &message, &torn):
            outbox_link(&other, &message)
        self.outbox = other
        return torn

    def clear(self):
        """The connection's end."""
        outbox_clear(&self.outbox, &self.pool)

    @property
    def bytes_left(self):
        """Bytes still to write."""
        return self.outbox.bytes

    @property
    def bytes_written(self):
        """Bytes written since the beginning."""
        return self.outbox.bytes_written

    @property
    def is_empty(self):
        """No slice is left."""
        return self.outbox.head == NULL and self.outbox.tail == NULL

    @property
    def live_blocks(self):
        """Blocks in use."""
        return self.pool.live_blocks

    @property
    def live_slices(self):
        """Slices in use."""
        return self.pool.live_slices
