"""Ring: what became of a node's requests, remembered by their sequences, so that one sent again is not run again.

    sequence ──& (capacity - 1)──► entry          a window of ids: a newer one takes the place of an older one

    kept       its outcome, as it went out, at the caller's under a number
    code       an ERROR of zproxy's own, said again from its code
    neither    it had an outcome, which is kept no longer

A ring grows by doubling, up to RING_IDS, as long as it would forget what is younger than the window. Outcomes are kept
within the node's share of the budget; when that is full, the oldest gives way to the newest. All of it counts, tables
included, so any number of nodes stays within `dedup_bytes`.

Rule 1. Ids at or below `forgotten` that are not here may have run: nobody knows any more.
Rule 2. An event makes room by dropping one outcome at most: more would not fit into one verdict.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RING_IDS = 4096
    OUTCOME_BYTES = 512         # what a kept outcome costs beside its bytes

cdef struct RingEntry:
    uint64_t sequence           # 0 = none
    int64_t settled_ms          # monotonic
    uint64_t bytes              # that it is charged for, if it is kept
    uint32_t payload            # PAYLOAD_NONE = not kept
    uint16_t code               # of zproxy's own ERROR; 0 = none
    uint16_t attempt            # deliveries made

cdef struct Ring:               # embedded in Peer; zeroed means empty; owns `entries`
    RingEntry* entries
    uint32_t capacity
    uint64_t forgotten          # the highest id that is not remembered any more
    uint64_t newest             # the highest id that was
    uint64_t oldest_kept        # no outcome below this id is kept
    uint64_t kept_bytes
    uint32_t drained            # entries below it have nothing to give

cdef struct Memory:             # of all rings; embedded in Broker
    uint64_t limit_bytes        # 0 = nothing is remembered, and nothing counts as forgotten
    int64_t window_ms
    uint64_t bytes              # tables included
    uint64_t kept_bytes         # of outcomes
    uint64_t owners             # rings that share it

# What is remembered of the sequence, within the window; or NULL.
cdef const RingEntry* ring_find(
    const Ring* ring, const Memory* memory, uint64_t sequence, int64_t now_ms
) noexcept nogil

# The sequence has ended; the entry for it, without an outcome yet. `payload` is an outcome that is needed no more
# (PAYLOAD_NONE: none). NULL: it is forgotten at once.
cdef RingEntry* ring_remember(
    Ring* ring, Memory* memory, uint64_t sequence, int64_t now_ms, uint32_t* payload
) noexcept nogil

# Is there room for an outcome of so many bytes? Charged from then on, and `payload` is one that gave way for it, if it
# was PAYLOAD_NONE before.
cdef bint ring_keep(Ring* ring, Memory* memory, RingEntry* entry, uint64_t count, uint32_t* payload) noexcept nogil

# The outcome is not kept after all.
cdef void ring_unkeep(Ring* ring, Memory* memory, RingEntry* entry) noexcept nogil

# More nodes share the budget now: an outcome beyond this one's share gives way; PAYLOAD_NONE: none has to.
cdef uint32_t ring_trim(Ring* ring, Memory* memory) noexcept nogil

# Forgets one outcome; PAYLOAD_NONE: there is none left, and the ring is empty.
cdef uint32_t ring_drain(Ring* ring, Memory* memory) noexcept nogil


# Of the budget a quarter is the tables': to know that something has ended is worth more than to know how.
cdef inline uint64_t memory_outcomes(const Memory* memory) noexcept nogil:
    return memory.limit_bytes - memory.limit_bytes // 4


# What one node may have kept.
cdef inline uint64_t memory_share(const Memory* memory) noexcept nogil:
    return memory_outcomes(memory) // max(memory.owners, <uint64_t>1)
