"""Cipher: between boxes and plain frames; see cipher.pxd for the contract. `CipherProbe` is for the tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from zproxy.relay.block cimport (
    BLOCK_MEDIUM, BLOCK_SMALL, SLICE_OPEN, SLICE_WIRE, SMALL_BYTES, Slice, block_release, block_take, message_append,
    message_bytes, message_grow, message_release, message_room, pool_clear, slice_take
)
from zproxy.relay.box cimport (
    BOX_HEAD_BYTES, BOX_NONCE_AT, BOX_TAG_AT, box_begin, box_close, box_flags, box_head_read, box_head_write,
    box_is_genuine, box_open, box_seal, frame_flags
)
from zproxy.relay.curve cimport curve_dial, curve_keys, curve_serve
from zproxy.relay.inbox cimport (
    ITEM_ASSEMBLED, ITEM_COMMAND, ITEM_MESSAGE, ITEM_NEED, READ_BUFFER_BYTES, Item, ItemKind, inbox_accept, inbox_clear,
    inbox_direct, inbox_is_direct, inbox_next, inbox_prepare
)
from zproxy.relay.outbox cimport (
    FLUSH_AGAIN, FLUSH_BYTES, FLUSH_DONE, FLUSH_FAILED, outbox_clear, outbox_cut, outbox_drop_message, outbox_drop_wire,
    outbox_flush, outbox_front, outbox_link, outbox_reclaim, outbox_room, outbox_wire
)
from zproxy.relay.sodium cimport sodium_table
from zproxy.relay.zmtp cimport (
    FRAME_COMMAND, FRAME_MORE, LONG_HEADER_BYTES, SCAN_MALFORMED, SCAN_NEED, Frame, ScanCode, frame_read, header_write
)

cdef enum:
    WORK_BYTES = 262144         # closed in one step, of which a turn has several
    WIRE_HEAD_BYTES = 42        # a long frame's header and a box's head: they lie in one piece


cdef Cipher* cipher_make(
    const Sodium* sodium, const uint8_t* public, const uint8_t* secret, const uint8_t* server
) noexcept nogil:
    cdef Cipher* cipher = <Cipher*>calloc(1, sizeof(Cipher))
    if cipher == NULL:
        return NULL
    cipher.sodium = sodium
    cipher.is_server = server == NULL
    if cipher.is_server:
        curve_serve(&cipher.curve, public, secret)
    else:
        curve_dial(&cipher.curve, public, secret, server)
    return cipher


cdef void cipher_end(Cipher* cipher, Pool* pool) noexcept nogil:
    if cipher.opening.stash != NULL:
        block_release(pool, cipher.opening.stash)
    message_release(pool, &cipher.sealing.closed)
    cipher.sodium.wipe(cipher, sizeof(Cipher))
    free(cipher)


# ---- opening ----


# What is left in the window waits for more. 0, or -1: no memory.
cdef int stash_keep(Opening* opening, Pool* pool, const uint8_t* bytes, size_t count) noexcept nogil:
    if opening.stash != NULL and (count == 0 or opening.stash.capacity < count):
        block_release(pool, opening.stash)
        opening.stash = NULL
    if count == 0:
        return 0
    if opening.stash == NULL:
        opening.stash = block_take(pool, BLOCK_SMALL if count <= SMALL_BYTES else BLOCK_MEDIUM)
        if opening.stash == NULL:
            return -1
    memcpy(opening.stash.bytes, bytes, count)
    opening.stash.fill = <uint32_t>count
    return 0


cdef int cipher_begin(Cipher* cipher, Inbox* inbox, Pool* pool) noexcept nogil:
    curve_keys(cipher.sodium, &cipher.curve, cipher.is_server, cipher.opening.key, cipher.sealing.key)
    cipher.sealing.nonce = cipher.curve.nonce
    cipher.is_former = cipher.curve.is_former
    cipher.sodium.wipe(&cipher.curve, sizeof(Curve))
    cipher.is_on = True
    if stash_keep(&cipher.opening, pool, inbox.at, inbox.end - inbox.at) != 0:
        return -1
    cipher.opening.is_fresh = cipher.opening.stash != NULL
    inbox.at = inbox.end
    return 0


cdef int cipher_prepare(Cipher* cipher, const Inbox* inbox, uint8_t* raw, iovec* target, int entries) noexcept nogil:
    cdef size_t kept = 0
    if inbox_is_direct(inbox):
        target[entries - 1].iov_base = raw if entries == 2 else target[0].iov_base
        return entries
    if cipher.opening.stash != NULL:
        kept = cipher.opening.stash.fill
        memcpy(raw, cipher.opening.stash.bytes, kept)
    if cipher.opening.is_fresh:
        return 0
    target[0].iov_base = raw + kept
    target[0].iov_len = READ_BUFFER_BYTES - SMALL_BYTES - kept     # what the inbox keeps stands in front of the rest
    return 1


# The next bytes of the open box. False: it has proved not to be genuine.
cdef bint body_take(Cipher* cipher, uint8_t* target, const uint8_t* source, size_t count) noexcept nogil:
    cdef Opening* opening = &cipher.opening
    box_open(cipher.sodium, &opening.box, opening.key, target, source, count)
    opening.left -= count
    return opening.left != 0 or box_is_genuine(cipher.sodium, &opening.box, opening.tag)


# Opens the box whose frame was read, and writes the plain frame's header; returns that header's bytes. 0: it is none.
cdef uint32_t head_take(Cipher* cipher, const uint8_t* head, uint64_t body_bytes, uint8_t* target) noexcept nogil:
    cdef Opening* opening = &cipher.opening
    cdef uint32_t header_bytes
    cdef uint8_t flags = 0
    if not box_head_read(head, &opening.newest):
        return 0
    box_begin(cipher.sodium, &opening.box, opening.key, head + BOX_NONCE_AT)
    memcpy(opening.tag, head + BOX_TAG_AT, TAG_BYTES)
    box_open(cipher.sodium, &opening.box, opening.key, &flags, head + BOX_HEAD_BYTES - 1, 1)
    opening.left = body_bytes - BOX_HEAD_BYTES
    header_bytes = header_write(target, False, opening.left)
    target[0] = frame_flags(flags, opening.left)
    if opening.left == 0 and not box_is_genuine(cipher.sodium, &opening.box, opening.tag):
        return 0
    return header_bytes


# Is all there that is to be there before the box is opened?
cdef inline bint is_openable(const Frame* frame, size_t available) noexcept nogil:
    cdef uint64_t frame_bytes = frame.header_bytes + frame.body_bytes
    if frame_bytes <= SMALL_BYTES:
        return frame_bytes <= available
    return available >= <size_t>(frame.header_bytes + BOX_HEAD_BYTES)


# Opens what is there between `*source` and `end`, as plain frames from `*target` on; both are moved. False: what stands
# at `*source` is forged, and `*target` is behind the last frame that is genuine.
cdef bint boxes_open(Cipher* cipher, const uint8_t** source, const uint8_t* end, uint8_t** target) noexcept nogil:
    cdef Opening* opening = &cipher.opening
    cdef Frame frame
    cdef ScanCode code
    cdef uint8_t* at = target[0]        # beyond `*target`: of a frame that may prove to be forged
    cdef size_t count
    cdef uint32_t header_bytes
    while source[0] != end:
        count = end - source[0]
        if opening.left:
            count = min(<uint64_t>count, opening.left)
            if not body_take(cipher, at, source[0], count):
                return False
            source[0] += count
            at += count
            target[0] = at
            continue
        code = frame_read(source[0], count, &frame)
        if code == SCAN_NEED:
            return True
        if code == SCAN_MALFORMED or frame.body_bytes < BOX_HEAD_BYTES:
            return False
        if not is_openable(&frame, count):
            return True
        header_bytes = head_take(cipher, source[0] + frame.header_bytes, frame.body_bytes, at)
        if header_bytes == 0:
            return False
        source[0] += frame.header_bytes + BOX_HEAD_BYTES
        at += header_bytes
        if opening.left == 0 or source[0] == end:
            target[0] = at
    return True


cdef OpenCode cipher_open(
    Cipher* cipher, const Inbox* inbox, Pool* pool, uint8_t* raw, uint8_t* plain, size_t* count
) noexcept nogil:
    cdef Opening* opening = &cipher.opening
    cdef const uint8_t* source = raw
    cdef const uint8_t* end = raw + count[0]
    cdef uint8_t* target = plain
    cdef uint8_t* place
    cdef size_t direct = 0
    cdef bint is_genuine
    opening.is_fresh = False
    if inbox_is_direct(inbox):
        direct = inbox_direct(inbox, count[0])
        place = inbox.assembly.tail.block.bytes + inbox.assembly.tail.block.fill
        end -= direct
        count[0] = 0
        if not body_take(cipher, place, place, direct):
            return OPEN_FORGED
    else:
        target += inbox.stash.fill if inbox.stash != NULL else 0
        end += opening.stash.fill if opening.stash != NULL else 0
    plain = target
    is_genuine = boxes_open(cipher, &source, end, &target)
    count[0] = direct + (target - plain)
    if not is_genuine:
        return OPEN_FORGED
    return OPEN_OK if stash_keep(opening, pool, source, end - source) == 0 else OPEN_NO_MEMORY


# ---- closing ----


# So much of what is in front of the outbox is closed.
cdef void plain_cut(Outbox* outbox, Pool* pool, size_t count) noexcept nogil:
    cdef uint32_t part
    while count:
        part = <uint32_t>min(count, <size_t>outbox.head.length)
        outbox_cut(outbox, pool, part)
        count -= part


# The header of the frame in front, which may lie in several slices.
cdef void plain_frame(const Outbox* outbox, Frame* frame) noexcept nogil:
    cdef uint8_t[<int>LONG_HEADER_BYTES] header
    cdef const Slice* slice = outbox.head
    cdef size_t count = 0
    cdef size_t part
    while slice != NULL and count < LONG_HEADER_BYTES:
        part = min(<size_t>slice.length, LONG_HEADER_BYTES - count)
        memcpy(header + count, slice.block.bytes + slice.offset, part)
        count += part
        slice = slice.next
    frame_read(header, count, frame)


# Room for WIRE_HEAD_BYTES in one piece; NULL: no memory.
cdef uint8_t* head_room(Sealing* sealing, Pool* pool, uint64_t coming_bytes) noexcept nogil:
    cdef Slice* slice = sealing.closed.tail
    cdef Block* block
    if slice != NULL and slice.block.capacity - slice.block.fill >= WIRE_HEAD_BYTES:
        return slice.block.bytes + slice.block.fill
    block = block_take(pool, BLOCK_SMALL if coming_bytes <= SMALL_BYTES // 2 else BLOCK_MEDIUM)
    if block == NULL:
        return NULL
    slice = slice_take(pool, block, 0, 0, SLICE_WIRE)
    block_release(pool, block)
    if slice == NULL:
        return NULL
    if sealing.closed.tail == NULL:
        sealing.closed.head = slice
    else:
        sealing.closed.tail.next = slice
    sealing.closed.tail = slice
    return block.bytes


# The open box is all closed.
cdef void frame_end(Cipher* cipher) noexcept nogil:
    cdef Sealing* sealing = &cipher.sealing
    box_seal(cipher.sodium, &sealing.box, sealing.tag)
    if sealing.is_last:
        sealing.is_within = False
        sealing.messages += 1


# Opens a box for the frame in front of the outbox. 0, or -1: no memory, or no nonce is left.
cdef int frame_begin(Cipher* cipher, Outbox* outbox, Pool* pool) noexcept nogil:
    cdef Sealing* sealing = &cipher.sealing
    cdef Frame frame
    cdef uint32_t header_bytes
    cdef uint8_t flags
    cdef uint8_t* target = head_room(sealing, pool, outbox.bytes)
    if target == NULL or sealing.nonce == ~<uint64_t>0:
        return -1
    plain_frame(outbox, &frame)
    plain_cut(outbox, pool, frame.header_bytes)
    sealing.nonce += 1
    header_bytes = header_write(target, False, frame.body_bytes + BOX_HEAD_BYTES)
    target += header_bytes
    box_head_write(target, sealing.nonce)
    box_begin(cipher.sodium, &sealing.box, sealing.key, target + BOX_NONCE_AT)
    flags = box_flags(frame.flags)
    box_close(cipher.sodium, &sealing.box, sealing.key, target + BOX_HEAD_BYTES - 1, &flags, 1)
    sealing.tag = target + BOX_TAG_AT
    message_grow(&sealing.closed, header_bytes + BOX_HEAD_BYTES)
    outbox.bytes += header_bytes + BOX_HEAD_BYTES
    sealing.left = frame.body_bytes
    sealing.is_last = frame.flags & (FRAME_MORE | FRAME_COMMAND) == 0
    sealing.is_within |= not frame.flags & FRAME_COMMAND
    if sealing.left == 0:
        frame_end(cipher)
    return 0


# The next piece of the open box's body; its bytes. 0: no memory.
cdef size_t frame_work(Cipher* cipher, Outbox* outbox, Pool* pool) noexcept nogil:
    cdef Sealing* sealing = &cipher.sealing
    cdef const Slice* slice = outbox.head
    cdef size_t count = 0
    cdef uint8_t* target = message_room(pool, &sealing.closed, &count)
    if target == NULL:
        return 0
    count = min(min(min(<uint64_t>count, sealing.left), slice.length), WORK_BYTES)
    box_close(cipher.sodium, &sealing.box, sealing.key, target, slice.block.bytes + slice.offset, count)
    message_grow(&sealing.closed, count)
    outbox_cut(outbox, pool, <uint32_t>count)
    outbox.bytes += count
    sealing.left -= count
    if sealing.left == 0:
        frame_end(cipher)
    return count


# May a message rest here, closed in part? Where small ones lie behind each other nobody could tell its rest from them.
cdef inline bint may_rest(const Sealing* sealing, const Outbox* outbox) noexcept nogil:
    return not sealing.is_within or not outbox.head.flags & SLICE_OPEN


cdef inline bint has_plain(const Outbox* outbox) noexcept nogil:
    return outbox.head != NULL and not outbox.head.flags & SLICE_WIRE


# Closes a batch, or a turn's share of a large message, and puts in front what may leave. 0, or -1.
cdef int batch_close(Cipher* cipher, Outbox* outbox, Pool* pool) noexcept nogil:
    cdef Sealing* sealing = &cipher.sealing
    cdef uint64_t worked = 0
    cdef size_t count
    while sealing.left or has_plain(outbox):
        if sealing.left == 0:
            if sealing.closed.bytes >= SEAL_BATCH_BYTES and may_rest(sealing, outbox):
                break
            if frame_begin(cipher, outbox, pool) != 0:
                return -1
            continue
        if worked >= SEAL_TURN_BYTES and may_rest(sealing, outbox):
            return 0
        count = frame_work(cipher, outbox, pool)
        if count == 0:
            return -1
        worked += count
    outbox_front(outbox, &sealing.closed)
    return 0


cdef FlushCode cipher_flush(Cipher* cipher, Outbox* outbox, Pool* pool, int fd) noexcept nogil:
    cdef uint64_t before = outbox.bytes_written
    cdef FlushCode code
    if not cipher.is_on:
        return outbox_flush(outbox, pool, fd, SLICE_WIRE)
    while outbox.bytes:
        if outbox.head == NULL or not outbox.head.flags & SLICE_WIRE:
            if batch_close(cipher, outbox, pool) != 0:
                return FLUSH_FAILED
            if cipher.sealing.left:
                return FLUSH_AGAIN      # its turn's share is closed, and nothing of it may leave
        code = outbox_flush(outbox, pool, fd, SLICE_WIRE)
        if code != FLUSH_DONE:
            return code
        cipher.sealing.messages = 0
        if outbox.bytes_written - before >= FLUSH_BYTES:
            return FLUSH_AGAIN
    return FLUSH_DONE


cdef void cipher_forfeit(Cipher* cipher, Outbox* outbox, Pool* pool, uint64_t* torn) noexcept nogil:
    cdef Sealing* sealing = &cipher.sealing
    if outbox_drop_wire(outbox, pool) or sealing.closed.head != NULL:
        torn[0] += sealing.messages
    outbox.bytes -= sealing.closed.bytes
    message_release(pool, &sealing.closed)
    if sealing.is_within:
        torn[0] += 1
        if has_plain(outbox):
            outbox_drop_message(outbox, pool)
    sealing.messages = 0
    sealing.left = 0
    sealing.is_within = False


# The order of OpenCode.
OPEN_CODES = ("ok", "forged", "no_memory")


cdef class CipherProbe:
    """One end of a connection after its handshake, by itself: messages in, boxes out, and the other way round."""

    cdef Cipher* cipher
    cdef Inbox inbox
    cdef Outbox outbox
    cdef Pool pool
    cdef uint8_t* plain
    cdef uint8_t* raw

    def __cinit__(self, bytes inbound, bytes outbound, uint64_t max_message_bytes=1 << 30):
        cdef uint8_t[<int>KEY_BYTES] none
        if {len(inbound), len(outbound)} != {KEY_BYTES}:
            raise ValueError("a key has 32 bytes")
        memset(none, 0, KEY_BYTES)
        self.plain = <uint8_t*>malloc(READ_BUFFER_BYTES)
        self.raw = <uint8_t*>malloc(READ_BUFFER_BYTES)
        self.cipher = cipher_make(sodium_table(), none, none, NULL)
        if self.plain == NULL or self.raw == NULL or self.cipher == NULL:
            raise MemoryError
        self.inbox.max_message_bytes = max_message_bytes
        cipher_begin(self.cipher, &self.inbox, &self.pool)
        memcpy(self.cipher.opening.key, <const char*>inbound, KEY_BYTES)
        memcpy(self.cipher.sealing.key, <const char*>outbound, KEY_BYTES)

    def __dealloc__(self):
        if self.cipher != NULL:
            self.clear()
            cipher_end(self.cipher, &self.pool)
        pool_clear(&self.pool)
        free(self.plain)
        free(self.raw)

    def copy(self, bytes unit):
        """A whole message or command into the outbox, copied behind the others."""
        cdef uint8_t* target = outbox_room(&self.outbox, &self.pool, len(unit))
        if target == NULL:
            raise MemoryError
        memcpy(target, <const char*>unit, len(unit))

    def link(self, bytes body):
        """A whole message into the outbox, as blocks of its own."""
        cdef Message message
        memset(&message, 0, sizeof(Message))
        if message_append(&self.pool, &message, <const uint8_t*><const char*>body, len(body)) != 0:
            message_release(&self.pool, &message)
            raise MemoryError
        outbox_link(&self.outbox, &message)

    def wire(self, bytes unit):
        """What goes out as it is, into the outbox, copied behind the others."""
        if outbox_wire(&self.outbox, &self.pool, <const uint8_t*><const char*>unit, len(unit)) != 0:
            raise MemoryError

    def flush(self, int fd):
        """What outbox_flush would say, by number."""
        return <int>cipher_flush(self.cipher, &self.outbox, &self.pool, fd)

    def reclaim(self):
        """(the messages of which nothing was closed, messages torn): the connection has ended."""
        cdef Message message
        cdef uint64_t torn = 0
        messages = []
        cipher_forfeit(self.cipher, &self.outbox, &self.pool, &torn)
        while outbox_reclaim(&self.outbox, &self.pool, &message, &torn):
            messages.append(message_bytes(&message))
            message_release(&self.pool, &message)
        return messages, torn

    def feed(self, const uint8_t[::1] source):
        """What became whole with these bytes: ("message", wire bytes), ("command", body); as the last thing, after
        which it must not be fed again, ("forged", b""), or another word of the inbox's."""
        cdef size_t left = source.shape[0]
        cdef const uint8_t* bytes = &source[0] if left else NULL
        cdef size_t taken
        found = []
        while left:
            taken = self._read(bytes, left, found)
            bytes += taken
            left -= taken
            if taken == 0 or not self._drain(found):
                break
        return found

    def clear(self):
        """The connection's end."""
        inbox_clear(&self.inbox, &self.pool)
        outbox_clear(&self.outbox, &self.pool)
        message_release(&self.pool, &self.cipher.sealing.closed)
        stash_keep(&self.cipher.opening, &self.pool, NULL, 0)

    # One read, as readv(2) would fill what was prepared. 0: it was forged.
    cdef size_t _read(self, const uint8_t* bytes, size_t count, list found) except? 0:
        cdef iovec[2] target
        cdef size_t taken = 0
        cdef size_t plain_bytes
        cdef size_t part
        cdef int index
        cdef int entries = inbox_prepare(&self.inbox, &self.pool, self.plain, target)
        entries = cipher_prepare(self.cipher, &self.inbox, self.raw, target, entries)
        for index in range(entries):
            part = min(target[index].iov_len, count - taken)
            if part:
                memcpy(target[index].iov_base, bytes + taken, part)
            taken += part
        plain_bytes = taken
        code = OPEN_CODES[<int>cipher_open(
            self.cipher, &self.inbox, &self.pool, self.raw, self.plain, &plain_bytes
        )]
        inbox_accept(&self.inbox, self.plain, plain_bytes)
        if code == "ok":
            return taken
        self._drain(found)
        found.append((code, b""))
        return 0

    # False: it must not be fed again.
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
                found.append(("message", message_bytes(&self.inbox.assembly)))
                message_release(&self.pool, &self.inbox.assembly)
            elif kind == ITEM_COMMAND:
                found.append(("command", item.bytes[:item.count]))
            else:
                found.append(("malformed or too large", b""))
                return False

    @property
    def nonce(self):
        """Of the newest box that was closed."""
        return self.cipher.sealing.nonce

    def skip_nonces(self, uint64_t newest):
        """As if the newest box had had this nonce."""
        self.cipher.sealing.nonce = newest

    @property
    def bytes_left(self):
        """Bytes still to write."""
        return self.outbox.bytes

    @property
    def live_blocks(self):
        """Blocks in use."""
        return self.pool.live_blocks

    @property
    def live_slices(self):
        """Slices in use."""
        return self.pool.live_slices
