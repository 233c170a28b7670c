"""Backlog: whole requests that no worker could take yet; see backlog.pxd for the contract. `BacklogProbe` is
for the tests."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from zproxy.relay.block cimport (
    MEDIUM_BYTES, Message, Pool, block_pack, block_release, message_append, message_bytes, message_join,
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
    cdef uint32_t offset = 0
    cdef int code
    memset(message, 0, sizeof(Message))
    if count > MEDIUM_BYTES:
        code = message_append(pool, message, head, head_bytes) or message_append(pool, message, body, body_bytes)
        if code != 0:
            message_release(pool, message)
        return code
    if block_pack(pool, &backlog.packing, head, head_bytes, body, body_bytes, &offset) != 0:
        return -1
    message.head = message.tail = slice_take(pool, backlog.packing, offset, <uint32_t>count, 0)
    if message.head == NULL:
        return -1
    message.bytes = count
    return 0


cdef void backlog_open(Backlog* backlog) noexcept nogil:
    backlog.recovered.owner = backlog.orphans.owner = OWNER_NONE


# ---- lanes ----

# A lane has its first parcel: its turn comes after everybody else's.
cdef void ring_enter(Backlog* backlog, Lane* lane) noexcept nogil:
    if backlog.turn == NULL:
        lane.before = lane.after = lane
        backlog.turn = lane
        return
    lane.after = backlog.turn
    lane.before = backlog.turn.before
    lane.before.after = lane
    lane.after.before = lane


cdef void ring_leave(Backlog* backlog, Lane* lane) noexcept nogil:
    if backlog.turn == lane:
        backlog.turn = lane.after if lane.after != lane else NULL
    lane.before.after = lane.after
    lane.after.before = lane.before
    lane.before = lane.after = NULL


cdef bint in_ring(const Lane* lane) noexcept nogil:
    return lane.before != NULL


cdef void lane_append(Lane* lane, Parcel* first, Parcel* last) noexcept nogil:
    if lane.last == NULL:
        lane.first = first
    else:
        lane.last.after = first
    lane.last = last


cdef void backlog_orphan(Backlog* backlog, Lane* lane) noexcept nogil:
    if lane.first == NULL:
        return
    ring_leave(backlog, lane)
    lane_append(&backlog.orphans, lane.first, lane.last)
    lane.first = lane.last = NULL
    if not in_ring(&backlog.orphans):
        ring_enter(backlog, &backlog.orphans)


# ---- parcels ----

cdef Parcel* parcel_take(Backlog* backlog, Pool* pool) noexcept nogil:
    cdef Parcel* parcel = backlog.free_parcels
    if parcel != NULL:
        backlog.free_parcels = parcel.after
        backlog.free_parcel_count -= 1
    else:
        parcel = <Parcel*>malloc(sizeof(Parcel))
        if parcel == NULL:
            return NULL
    parcel.after = NULL
    pool.live_bytes += sizeof(Parcel)
    return parcel


cdef void parcel_give(Backlog* backlog, Pool* pool, Parcel* parcel) noexcept nogil:
    pool.live_bytes -= sizeof(Parcel)
    if backlog.free_parcel_count >= FREE_PARCELS_KEPT:
        free(parcel)
        return
    parcel.after = backlog.free_parcels
    backlog.free_parcels = parcel
    backlog.free_parcel_count += 1


cdef int backlog_push(Backlog* backlog, Pool* pool, Lane* lane, Message* message) noexcept nogil:
    cdef Parcel* parcel = parcel_take(backlog, pool)
    if parcel == NULL:
        return -1
    parcel.message = message[0]
    memset(message, 0, sizeof(Message))
    lane_append(lane, parcel, parcel)
    if lane != &backlog.recovered and not in_ring(lane):
        ring_enter(backlog, lane)
    backlog.count += 1
    backlog.bytes += parcel.message.bytes
    return 0


cdef int backlog_pop(Backlog* backlog, Pool* pool, Message* message, uint32_t* owner) noexcept nogil:
    cdef Lane* lane = &backlog.recovered if backlog.recovered.first != NULL else backlog.turn
    cdef Parcel* parcel
    if lane == NULL:
        return 0
    parcel = lane.first
    message[0] = parcel.message
    owner[0] = lane.owner
    lane.first = parcel.after
    if lane.first == NULL:
        lane.last = NULL
    if lane != &backlog.recovered:
        backlog.turn = lane.after
        if lane.first == NULL:
            ring_leave(backlog, lane)
    parcel_give(backlog, pool, parcel)
    backlog.count -= 1
    backlog.bytes -= message.bytes
    if backlog.count == 0:
        packing_drop(backlog, pool)
    return 1


cdef uint64_t backlog_clear(Backlog* backlog, Pool* pool) noexcept nogil:
    cdef Message message
    cdef uint32_t owner
    cdef uint64_t count = 0
    cdef Parcel* parcel
    while backlog_pop(backlog, pool, &message, &owner):
        message_release(pool, &message)
        count += 1
    packing_drop(backlog, pool)
    while backlog.free_parcels != NULL:
        parcel = backlog.free_parcels
        backlog.free_parcels = parcel.after
        free(parcel)
    backlog.free_parcel_count = 0
    return count


cdef class BacklogProbe:
    """A backlog by itself, with some clients' lanes."""

    cdef Backlog backlog
    cdef Lane[8] lanes
    cdef Pool pool

    def __cinit__(self):
        cdef uint32_t owner
        backlog_open(&self.backlog)
        for owner in range(8):
            self.lanes[owner].owner = owner

    def __dealloc__(self):
        self.clear()
        pool_clear(&self.pool)

    def push(self, uint32_t owner, bytes head, bytes body):
        """A request of one of eight clients, its parts copied together; its charge."""
        cdef Message message
        if backlog_pack(
            &self.backlog, &self.pool, <const uint8_t*><const char*>head, len(head),
            <const uint8_t*><const char*>body, len(body), &message
        ) != 0:
            raise MemoryError
        return self._push(self._lane(owner), &message)

    def push_large(self, uint32_t owner, bytes head, bytes body):
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
        return self._push(self._lane(owner), &whole)

    def recover(self, bytes body):
        """A request taken back from a worker."""
        cdef Message message
        memset(&message, 0, sizeof(Message))
        if message_append(&self.pool, &message, <const uint8_t*><const char*>body, len(body)) != 0:
            raise MemoryError
        return self._push(&self.backlog.recovered, &message)

    def orphan(self, uint32_t owner):
        """The client goes."""
        backlog_orphan(&self.backlog, self._lane(owner))

    def pop(self):
        """(message, owner or None, charge) of the next, or None."""
        cdef Message message
        cdef uint32_t owner
        if not backlog_pop(&self.backlog, &self.pool, &message, &owner):
            return None
        charge = parcel_charge(&message)
        content = message_bytes(&message)
        message_release(&self.pool, &message)
        return content, None if owner == <uint32_t>OWNER_NONE else owner, charge

    def clear(self):
        """Drops everything; how many."""
        return backlog_clear(&self.backlog, &self.pool)

    cdef object _push(self, Lane* lane, Message* message):
        charge = parcel_charge(message)
        if backlog_push(&self.backlog, &self.pool, lane, message) != 0:
            message_release(&self.pool, message)
            raise MemoryError
        return charge

    cdef Lane* _lane(self, uint32_t owner) except NULL:
        if owner >= 8:
            raise IndexError(owner)
        return &self.lanes[owner]

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
