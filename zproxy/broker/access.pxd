"""Access: who may use which services, who may serve them, how much and how often. Pure: knows no peer and no request.

    permits_pack (Python, when rules are read) ─► packed bytes ─► permits_take ─► rows by number
    a request ─► permits_allow    two bits of its service's, found by the row's patterns once
              ─► permit_exceeded  its size, how many are open, two buckets ─► accepted ─► permit_spend
    a plain message ─► permit_spend ─► permit_wait_ms   for how long its sender may send nothing more
    a READY   ─► permits_serve    by the patterns

    pattern   `name` that service; `prefix*` all that begin so; `*` all, and what a worker offers as `*`
    bucket    one second's worth at most, full in the beginning; what is accepted is taken out of it

Rule 1. Row 0 allows everything and limits nothing: everybody's where there are no rules. A row that is not in the table
        allows nothing.
Rule 2. A table takes another's place as a whole, or not at all. A row's buckets go on under its number.
Rule 3. What has been found is remembered with the service, and is void with another table (`epoch`) or another service
        of its number: whatever is remembered of a service is forgotten with its name.
Rule 4. One message passes a full bucket, however large, and leaves it in debt. So in any time a bucket passes no more
        than flows in, and what it holds, and what the last message is larger than that; of plain messages, which
        nobody can refuse, what had come with the last one.

Memory: a table as large as its packed bytes and some 120 for each row; for each service two bits for each row up to the
highest that has asked for it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    PERMIT_ALL = 0              # the number of the row that allows everything
    PERMIT_ROWS_MAX = 1048576
    PATTERN_PREFIX = 0x80       # in a pattern's first byte, beside how many bytes follow
    ROWS_A_WORD = 32            # of which two bits each are in a word of Seen
    PARTS = 1000000             # of one message, or byte: what buckets count in

cdef extern from *:
    """
    #define ZPROXY_RATE_MAX 1000000000000
    #define ZPROXY_DEBT_MAX 3000000000000000000
    """
    const int64_t RATE_MAX "ZPROXY_RATE_MAX"    # messages or bytes a second, and bytes that count of one message
    const int64_t DEBT_MAX "ZPROXY_DEBT_MAX"    # of a bucket, in parts: with what it holds, as far as 64 bits go

cdef enum Limit:
    LIMIT_NONE                  # all are kept to
    LIMIT_SIZE
    LIMIT_IN_FLIGHT
    LIMIT_MESSAGES
    LIMIT_BYTES

cdef struct Bucket:
    uint64_t rate               # parts that flow in each millisecond; 0: no limit
    int64_t burst               # that it holds
    int64_t level               # below 0: debt
    int64_t filled_ms           # until when it was

cdef struct Patterns:
    const uint8_t* packed       # in Permits.packed
    uint32_t count

cdef struct PermitRow:
    Patterns allow              # services it may use
    Patterns serve              # and offer
    Bucket messages
    Bucket bytes
    uint64_t message_bytes      # of one message at most; 0: no limit
    uint32_t in_flight          # requests it may have open; 0: no limit

cdef struct Permits:            # owns `rows` and `packed`; zeroed: only row 0
    PermitRow* rows                # by number; the first is not looked at
    uint32_t count
    uint8_t* packed
    uint64_t epoch              # of the table; grows with each

cdef struct Seen:               # embedded in a Service, which owns `words`; zeroed: nothing
    uint64_t* words             # two bits for each row: is it known? is it allowed?
    uint32_t rows               # that there is room for
    uint64_t epoch              # of the table they are from

# The table that `packed` is, as permits_pack makes it, for the present one. 0, or -1: malformed, or no memory, and the
# present one stays.
cdef int permits_take(Permits* permits, const uint8_t* packed, size_t count, int64_t now_ms) noexcept nogil
cdef void permits_close(Permits* permits) noexcept nogil

# May the row use the service of that name? By its patterns; with `seen` of the service, remembered there.
cdef bint permits_match(const Permits* permits, uint32_t row, const uint8_t* name, uint8_t name_bytes) noexcept nogil
cdef bint permits_find(
    const Permits* permits, uint32_t row, Seen* seen, const uint8_t* name, uint8_t name_bytes
) noexcept nogil

# May it serve it? `*` is what a worker offers that takes any.
cdef bint permits_serve(const Permits* permits, uint32_t row, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# How long until it passes that many, from now; 0: it does.
cdef int64_t bucket_wait_ms(const Bucket* bucket, uint64_t count) noexcept nogil


# The same as permits_find, and a look-up where that was asked before.
cdef inline bint permits_allow(
    const Permits* permits, uint32_t row, Seen* seen, const uint8_t* name, uint8_t name_bytes
) noexcept nogil:
    cdef uint64_t bits
    if row < seen.rows and seen.epoch == permits.epoch:
        bits = seen.words[row // ROWS_A_WORD] >> (row % ROWS_A_WORD * 2)
        if bits & 1:
            return bits & 2 != 0
    return permits_find(permits, row, seen, name, name_bytes)


# Forgets what is remembered; what it was needs no more than another epoch.
cdef inline void seen_clear(Seen* seen) noexcept nogil:
    seen.epoch = 0


cdef inline void bucket_fill(Bucket* bucket, int64_t now_ms) noexcept nogil:
    cdef int64_t elapsed_ms = now_ms - bucket.filled_ms
    if elapsed_ms <= 0:
        return
    bucket.filled_ms = now_ms
    if <double>elapsed_ms * <double>bucket.rate > 4e18:     # more than any bucket lacks, and within 64 bits
        bucket.level = bucket.burst
    else:
        bucket.level = min(bucket.level + <int64_t>(<uint64_t>elapsed_ms * bucket.rate), bucket.burst)


cdef inline int64_t parts_of(uint64_t count) noexcept nogil:
    return <int64_t>min(count, <uint64_t>RATE_MAX) * PARTS


# It has what is to be taken out, or is full.
cdef inline bint bucket_has(const Bucket* bucket, uint64_t count) noexcept nogil:
    return bucket.level >= min(parts_of(count), bucket.burst)


cdef inline void bucket_take(Bucket* bucket, uint64_t count) noexcept nogil:
    if bucket.rate:
        bucket.level = max(bucket.level - parts_of(count), -DEBT_MAX)


# Which limit a request of `count` bytes would exceed, of a row that is in the table, where `open_count` are open.
cdef inline Limit permit_exceeded(
    PermitRow* permit, uint32_t open_count, uint64_t count, int64_t now_ms
) noexcept nogil:
    if permit.message_bytes and count > permit.message_bytes:
        return LIMIT_SIZE
    if permit.in_flight and open_count >= permit.in_flight:
        return LIMIT_IN_FLIGHT
    if permit.messages.rate:
        bucket_fill(&permit.messages, now_ms)
        if not bucket_has(&permit.messages, 1):
            return LIMIT_MESSAGES
    if permit.bytes.rate:
        bucket_fill(&permit.bytes, now_ms)
        if not bucket_has(&permit.bytes, count):
            return LIMIT_BYTES
    return LIMIT_NONE


# In how many milliseconds the row's owner may send on; 0: now.
cdef inline int64_t permit_wait_ms(PermitRow* permit, int64_t now_ms) noexcept nogil:
    bucket_fill(&permit.messages, now_ms)
    bucket_fill(&permit.bytes, now_ms)
    return max(bucket_wait_ms(&permit.messages, 1), bucket_wait_ms(&permit.bytes, 1))


# The row; NULL: it has no limits.
cdef inline PermitRow* permits_row(const Permits* permits, uint32_t row) noexcept nogil:
    return NULL if row == PERMIT_ALL or row >= permits.count else &permits.rows[row]


# It was accepted.
cdef inline void permit_spend(PermitRow* permit, uint64_t count) noexcept nogil:
    bucket_take(&permit.messages, 1)
    bucket_take(&permit.bytes, count)
