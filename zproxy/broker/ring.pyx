"""Ring: what became of a node's requests; see ring.pxd for the contract."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from zproxy.broker.verdict cimport PAYLOAD_NONE

cdef enum:
    CAPACITY_FIRST = 64


cdef inline RingEntry* entry_of(const Ring* ring, uint64_t sequence) noexcept nogil:
    return &ring.entries[sequence & (ring.capacity - 1)]


cdef const RingEntry* ring_find(
    const Ring* ring, const Memory* memory, uint64_t sequence, int64_t now_ms
) noexcept nogil:
    cdef const RingEntry* entry
    if ring.capacity == 0:
        return NULL
    entry = entry_of(ring, sequence)
    if entry.sequence != sequence or now_ms - entry.settled_ms > memory.window_ms:
        return NULL
    return entry


# ---- tables ----


cdef inline uint64_t table_bytes(uint32_t capacity) noexcept nogil:
    return <uint64_t>capacity * sizeof(RingEntry)


# Two that had places of their own have them in a larger table, too, which is empty.
cdef void entries_move(const Ring* ring, RingEntry* entries, uint32_t capacity) noexcept nogil:
    cdef uint32_t place
    for place in range(capacity):
        entries[place].payload = PAYLOAD_NONE
    for place in range(ring.capacity):
        if ring.entries[place].sequence:
            entries[ring.entries[place].sequence & (capacity - 1)] = ring.entries[place]


# May grow, so that less is forgotten: no memory, or no share of it, and it stays as it is.
cdef bint ring_grow(Ring* ring, Memory* memory) noexcept nogil:
    cdef uint32_t capacity = ring.capacity * 2 or <uint32_t>CAPACITY_FIRST
    cdef uint64_t more = table_bytes(capacity) - table_bytes(ring.capacity)
    cdef RingEntry* entries
    if capacity > <uint32_t>RING_IDS or memory.bytes + more > memory.limit_bytes:
        return False
    entries = <RingEntry*>calloc(capacity, sizeof(RingEntry))
    if entries == NULL:
        return False
    entries_move(ring, entries, capacity)
    free(ring.entries)
    memory.owners += ring.capacity == 0
    ring.entries = entries
    ring.capacity = capacity
    memory.bytes += more
    return True


# ---- outcomes ----


cdef uint32_t outcome_drop(Ring* ring, Memory* memory, RingEntry* entry) noexcept nogil:
    cdef uint32_t payload = entry.payload
    if payload != <uint32_t>PAYLOAD_NONE:
        ring.kept_bytes -= entry.bytes
        memory.kept_bytes -= entry.bytes
        memory.bytes -= entry.bytes
        entry.payload = PAYLOAD_NONE
        entry.bytes = 0
    return payload


# Its place is for another.
cdef uint32_t entry_forget(Ring* ring, Memory* memory, RingEntry* entry) noexcept nogil:
    ring.forgotten = max(ring.forgotten, entry.sequence)
    return outcome_drop(ring, memory, entry)


cdef RingEntry* ring_remember(
    Ring* ring, Memory* memory, uint64_t sequence, int64_t now_ms, uint32_t* payload
) noexcept nogil:
    cdef RingEntry* entry
    payload[0] = PAYLOAD_NONE
    if memory.limit_bytes == 0:
        return NULL
    if ring.capacity == 0 and not ring_grow(ring, memory):
        ring.forgotten = max(ring.forgotten, sequence)
        return NULL
    entry = entry_of(ring, sequence)
    while entry.sequence and now_ms - entry.settled_ms <= memory.window_ms and ring_grow(ring, memory):
        entry = entry_of(ring, sequence)
    if entry.sequence > sequence:
        ring.forgotten = max(ring.forgotten, sequence)
        return NULL
    if entry.sequence:
        payload[0] = entry_forget(ring, memory, entry)
    entry.sequence = sequence
    entry.settled_ms = now_ms
    entry.bytes = 0
    entry.payload = PAYLOAD_NONE
    entry.code = entry.attempt = 0
    ring.newest = max(ring.newest, sequence)
    return entry


# The oldest that is kept: in order of ids, each looked at once.
cdef uint32_t oldest_drop(Ring* ring, Memory* memory) noexcept nogil:
    cdef RingEntry* entry
    cdef uint32_t payload = PAYLOAD_NONE
    if ring.newest > ring.capacity:
        ring.oldest_kept = max(ring.oldest_kept, ring.newest - ring.capacity)
    while ring.oldest_kept < ring.newest and payload == <uint32_t>PAYLOAD_NONE:
        entry = entry_of(ring, ring.oldest_kept)
        if entry.sequence == ring.oldest_kept:
            payload = outcome_drop(ring, memory, entry)
        ring.oldest_kept += 1
    return payload


cdef inline bint has_room(const Ring* ring, const Memory* memory, uint64_t count) noexcept nogil:
    return (
        memory.bytes + count <= memory.limit_bytes and memory.kept_bytes + count <= memory_outcomes(memory)
        and ring.kept_bytes + count <= memory_share(memory)
    )


cdef bint ring_keep(Ring* ring, Memory* memory, RingEntry* entry, uint64_t count, uint32_t* payload) noexcept nogil:
    count += OUTCOME_BYTES
    if not has_room(ring, memory, count) and payload[0] == <uint32_t>PAYLOAD_NONE:
        payload[0] = oldest_drop(ring, memory)
    if not has_room(ring, memory, count):
        return False
    entry.bytes = count
    ring.kept_bytes += count
    memory.kept_bytes += count
    memory.bytes += count
    return True


cdef void ring_unkeep(Ring* ring, Memory* memory, RingEntry* entry) noexcept nogil:
    outcome_drop(ring, memory, entry)


cdef uint32_t ring_trim(Ring* ring, Memory* memory) noexcept nogil:
    return oldest_drop(ring, memory) if ring.kept_bytes > memory_share(memory) else <uint32_t>PAYLOAD_NONE


cdef uint32_t ring_drain(Ring* ring, Memory* memory) noexcept nogil:
    cdef uint32_t payload = PAYLOAD_NONE
    while ring.drained < ring.capacity and payload == <uint32_t>PAYLOAD_NONE:
        payload = outcome_drop(ring, memory, &ring.entries[ring.drained])
        ring.drained += 1
    if payload != <uint32_t>PAYLOAD_NONE:
        return payload
    memory.bytes -= table_bytes(ring.capacity)
    memory.owners -= ring.capacity != 0
    free(ring.entries)
    memset(ring, 0, sizeof(Ring))
    return PAYLOAD_NONE
