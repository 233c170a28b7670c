"""Backlog: whole requests that no worker could take yet; see backlog.pxd for the contract. `BacklogProbe` is
for the tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from zproxy.relay.block cimport (
    BLOCK_MEDIUM, MEDIUM_BYTES, Message, Pool, block_release, block_take, message_append, message_bytes, message_join,
    message_release, pool_clear, slice_take
)


cdef void packing_drop(Backlog* backlog, Pool* pool) noexcept nogil:
    if backlog.packing != NULL:
        block_release(pool, backlog.packing)
        backlog.packing = NULL


cdef int backlog_pack(
    Backlog* backlog, Pool* pool, const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes,
    Message* message
) noexcept nogil:
    cdef size_t count = head_bytes + body_bytes
    cdef uint32_t offset
    cdef int code
    memset(message, 0, sizeof(Message))
    if count > MEDIUM_BYTES:
        code = message_append(pool, message, head, head_bytes) or message_append(pool, message, body, body_bytes)
        if code != 0:
            message_release(pool, message)
        return code
    if backlog.packing == NULL or backlog.packing.capacity - backlog.packing.fill < count:
        packing_drop(backlog, pool)
        backlog.packing = block_take(pool, BLOCK_MEDIUM)
        if backlog.packing == NULL:
            return -1
    offset = backlog.packing.fill
    message.head = message.tail = slice_take(pool, backlog.packing, offset, <uint32_t>count, 0)
    if message.head == NULL:
        return -1
    memcpy(backlog.packing.bytes + offset, head, head_bytes)
    if body_bytes:
        memcpy(backlog.packing.bytes + offset + head_bytes, body, body_bytes)
    backlog.packing.fill += <uint32_t>count
    message.bytes = count
    return 0


cdef int backlog_push(
    Backlog* backlog, Pool* pool, Message* message, uint32_t owner, uint32_t generation
) noexcept nogil:
    cdef Parcel* parcel = <Parcel*>malloc(sizeof(Parcel))
    if parcel == NULL:
        return -1
    pool.live_bytes += sizeof(Parcel)
    parcel.after = NULL
    parcel.message = message[0]
    parcel.owner = owner
    parcel.generation = generation
    memset(message, 0, sizeof(Message))
    if backlog.last == NULL:
        backlog.first = parcel
    else:
        backlog.last.after = parcel
    backlog.last = parcel
    backlog.count += 1
    backlog.bytes += parcel.message.bytes
    return 0


cdef int backlog_pop(Backlog* backlog, Pool* pool, Parcel* parcel) noexcept nogil:
    cdef Parcel* first = backlog.first
    if first == NULL:
        return 0
    parcel[0] = first[0]
    parcel.after = NULL
    backlog.first = first.after
    backlog.count -= 1
    backlog.bytes -= parcel.message.bytes
    if backlog.first == NULL:
        backlog.last = NULL
        packing_drop(backlog, pool)
    free(first)
    pool.live_bytes -= sizeof(Parcel)
    return 1


cdef void backlog_prepend(Backlog* backlog, Pool* pool, Backlog* older) noexcept nogil:
    if older.first == NULL:
        return
    older.last.after = backlog.first
    backlog.first = older.first
    if backlog.last == NULL:
        backlog.last = older.last
    backlog.count += older.count
    backlog.bytes += older.bytes
    packing_drop(older, pool)
    memset(older, 0, sizeof(Backlog))


cdef uint64_t backlog_clear(Backlog* backlog, Pool* pool) noexcept nogil:
    cdef Parcel parcel
    cdef uint64_t count = 0
    while backlog_pop(backlog, pool, &parcel):
        message_release(pool, &parcel.message)
        count += 1
    packing_drop(backlog, pool)
    return count


cdef class BacklogProbe:
    """A backlog by itself, with a second one in front of which it can be told to queue."""

    cdef Backlog backlog
    cdef Backlog older
    cdef Pool pool

    def __dealloc__(self):
        self.clear()
        pool_clear(&self.pool)

    def push(self, bytes head, bytes body, uint32_t owner, uint32_t generation):
        """A request whose parts are copied together; its charge."""
        cdef Message message
        if backlog_pack(
            &self.backlog, &self.pool, <const uint8_t*><const char*>head, len(head),
            <const uint8_t*><const char*>body, len(body), &message
        ) != 0:
            raise MemoryError
        return self._push(&self.backlog, &message, owner, generation)

    def push_large(self, bytes head, bytes body, uint32_t owner, uint32_t generation):
        """A request whose body lies in blocks of its own, behind a copied head; its charge."""
        cdef Message whole
        cdef Message message
        memset(&message, 0, sizeof(Message))
        if message_append(&self.pool, &message, <const uint8_t*><const char*>body, len(body)) != 0 or backlog_pack(
            &self.backlog, &self.pool, <const uint8_t*><const char*>head, len(head), NULL, 0, &whole
        ) != 0:
            message_release(&self.pool, &message)
            raise MemoryError
        message_join(&whole, &message)
        return self._push(&self.backlog, &whole, owner, generation)

    def push_older(self, bytes body):
        """A request for `prepend`, of no owner."""
        cdef Message message
        memset(&message, 0, sizeof(Message))
        if message_append(&self.pool, &message, <const uint8_t*><const char*>body, len(body)) != 0:
            raise MemoryError
        self._push(&self.older, &message, 0, 0)

    def prepend(self):
        """Puts what `push_older` collected in front."""
        backlog_prepend(&self.backlog, &self.pool, &self.older)

    def pop(self):
        """(message, owner, generation, charge) of the oldest, or None."""
        cdef Parcel parcel
        if not backlog_pop(&self.backlog, &self.pool, &parcel):
            return None
        charge = parcel_charge(&parcel.message)
        message = message_bytes(&parcel.message)
        message_release(&self.pool, &parcel.message)
        return message, parcel.owner, parcel.generation, charge

    def clear(self):
        """Drops everything; how many."""
        return backlog_clear(&self.backlog, &self.pool) + backlog_clear(&self.older, &self.pool)

    cdef object _push(self, Backlog* backlog, Message* message, uint32_t owner, uint32_t generation):
        charge = parcel_charge(message)
        if backlog_push(backlog, &self.pool, message, owner, generation) != 0:
            message_release(&self.pool, message)
            raise MemoryError
        return charge

    def __len__(self):
        return self.backlog.count

    @property
    def waiting_bytes(self):
        """The messages' bytes."""
        return self.backlog.bytes

    @property
    def live_bytes(self):
        """Memory in use, parcels included."""
        return self.pool.live_bytes
