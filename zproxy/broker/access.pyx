"""Access: who may use which services, who may serve them, how much and how often; see access.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from zproxy.envelope cimport NAME_BYTES_MAX, is_name

import struct
from typing import NamedTuple

cdef enum:
    PATTERN_HEAD_BYTES = 1


cdef struct RowHead:            # of a packed row; its patterns follow, those it may use first
    uint64_t message_rate       # parts a millisecond
    uint64_t byte_rate
    uint64_t message_bytes
    uint32_t in_flight
    uint16_t allow_count
    uint16_t serve_count


# ---- patterns ----


cdef bint patterns_match(const Patterns* patterns, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    cdef const uint8_t* at = patterns.packed
    cdef uint8_t count
    cdef bint is_prefix
    for _ in range(patterns.count):
        is_prefix = at[0] & PATTERN_PREFIX != 0
        count = at[0] & ~PATTERN_PREFIX
        if (count <= name_bytes if is_prefix else count == name_bytes) and memcmp(at + 1, name, count) == 0:
            return True
        at += PATTERN_HEAD_BYTES + count
    return False


cdef bint permits_match(const Permits* permits, uint32_t row, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    if row == PERMIT_ALL:
        return True
    return row < permits.count and patterns_match(&permits.rows[row].allow, name, name_bytes)


cdef bint permits_serve(const Permits* permits, uint32_t row, const uint8_t* name, uint8_t name_bytes) noexcept nogil:
    if row == PERMIT_ALL:
        return True
    return row < permits.count and patterns_match(&permits.rows[row].serve, name, name_bytes)


# ---- what was found ----


# Room for the row's bits, of the present table. 0, or -1: no memory.
cdef int seen_reserve(Seen* seen, const Permits* permits, uint32_t row) noexcept nogil:
    cdef uint32_t words
    cdef uint64_t* grown
    if seen.epoch != permits.epoch and seen.rows:
        memset(seen.words, 0, seen.rows // ROWS_A_WORD * sizeof(uint64_t))
    seen.epoch = permits.epoch
    if row < seen.rows:
        return 0
    words = min(max(row, seen.rows * 2), permits.count - 1) // ROWS_A_WORD + 1
    grown = <uint64_t*>realloc(seen.words, words * sizeof(uint64_t))
    if grown == NULL:
        return -1
    memset(grown + seen.rows // ROWS_A_WORD, 0, (words - seen.rows // ROWS_A_WORD) * sizeof(uint64_t))
    seen.words = grown
    seen.rows = words * ROWS_A_WORD
    return 0


cdef bint permits_find(
    const Permits* permits, uint32_t row, Seen* seen, const uint8_t* name, uint8_t name_bytes
) noexcept nogil:
    cdef bint is_allowed = permits_match(permits, row, name, name_bytes)
    if row == PERMIT_ALL or row >= permits.count or seen_reserve(seen, permits, row) != 0:
        return is_allowed
    seen.words[row // ROWS_A_WORD] |= <uint64_t>(1 | is_allowed << 1) << (row % ROWS_A_WORD * 2)
    return is_allowed


# ---- buckets ----


cdef int64_t bucket_wait_ms(const Bucket* bucket, uint64_t count) noexcept nogil:
    cdef int64_t lacking = min(parts_of(count), bucket.burst) - bucket.level
    if bucket.rate == 0 or lacking <= 0:
        return 0
    return <int64_t>((<uint64_t>lacking + bucket.rate - 1) // bucket.rate)


cdef void bucket_open(Bucket* bucket, uint64_t rate, int64_t now_ms) noexcept nogil:
    bucket.rate = rate
    bucket.burst = max(<int64_t>rate * 1000, <int64_t>PARTS)
    bucket.level = bucket.burst
    bucket.filled_ms = now_ms


# It goes on with what is in it.
cdef void bucket_inherit(Bucket* bucket, const Bucket* elder) noexcept nogil:
    if bucket.rate == 0 or elder.rate == 0:
        return
    bucket.level = min(elder.level, bucket.burst)
    bucket.filled_ms = elder.filled_ms


# ---- the table ----


cdef bint pattern_is_good(const uint8_t* pattern, size_t left) noexcept nogil:
    cdef uint8_t count
    if left < PATTERN_HEAD_BYTES:
        return False
    count = pattern[0] & ~PATTERN_PREFIX
    if count > NAME_BYTES_MAX or left - PATTERN_HEAD_BYTES < count or pattern[0] == 0:
        return False
    return is_name(pattern + PATTERN_HEAD_BYTES, count)


cdef bint patterns_read(const uint8_t** at, size_t* left, uint32_t count, Patterns* patterns) noexcept nogil:
    cdef size_t pattern_bytes
    patterns.packed = at[0]
    patterns.count = count
    for _ in range(count):
        if not pattern_is_good(at[0], left[0]):
            return False
        pattern_bytes = <size_t>PATTERN_HEAD_BYTES + (at[0][0] & ~PATTERN_PREFIX)
        at[0] += pattern_bytes
        left[0] -= pattern_bytes
    return True


# The next row, behind which `at` is then; False: malformed.
cdef bint permit_read(const uint8_t** at, size_t* left, int64_t now_ms, PermitRow* permit) noexcept nogil:
    cdef RowHead head
    cdef uint64_t rate_max = <uint64_t>RATE_MAX * (PARTS // 1000)
    if left[0] < sizeof(RowHead):
        return False
    memcpy(&head, at[0], sizeof(RowHead))
    at[0] += sizeof(RowHead)
    left[0] -= sizeof(RowHead)
    if head.message_rate > rate_max or head.byte_rate > rate_max:
        return False
    bucket_open(&permit.messages, head.message_rate, now_ms)
    bucket_open(&permit.bytes, head.byte_rate, now_ms)
    permit.message_bytes = head.message_bytes
    permit.in_flight = head.in_flight
    return (
        patterns_read(at, left, head.allow_count, &permit.allow)
        and patterns_read(at, left, head.serve_count, &permit.serve)
    )


# How many rows there are, row 0 included; 0: malformed.
cdef uint32_t rows_count(const uint8_t* packed, size_t left) noexcept nogil:
    cdef PermitRow permit
    cdef uint32_t count = 1
    while left:
        if count == PERMIT_ROWS_MAX or not permit_read(&packed, &left, 0, &permit):
            return 0
        count += 1
    return count


# As many rows as were counted, those that were there with their buckets.
cdef void rows_fill(
    PermitRow* rows, const Permits* elder, const uint8_t* packed, size_t left, int64_t now_ms
) noexcept nogil:
    cdef uint32_t row = 0
    while left:
        row += 1
        permit_read(&packed, &left, now_ms, &rows[row])
        if row < elder.count:
            bucket_inherit(&rows[row].messages, &elder.rows[row].messages)
            bucket_inherit(&rows[row].bytes, &elder.rows[row].bytes)


cdef int permits_take(Permits* permits, const uint8_t* packed, size_t count, int64_t now_ms) noexcept nogil:
    cdef uint32_t row_count = rows_count(packed, count)
    cdef uint8_t* owned
    cdef PermitRow* rows
    if row_count == 0:
        return -1
    owned = <uint8_t*>malloc(count + 1)
    rows = <PermitRow*>calloc(row_count, sizeof(PermitRow))
    if owned == NULL or rows == NULL:
        free(owned)
        free(rows)
        return -1
    memcpy(owned, packed, count)
    rows_fill(rows, permits, owned, count, now_ms)
    free(permits.packed)
    free(permits.rows)
    permits.packed = owned
    permits.rows = rows
    permits.count = row_count
    permits.epoch += 1
    return 0


cdef void permits_close(Permits* permits) noexcept nogil:
    free(permits.packed)
    free(permits.rows)
    permits.packed = NULL
    permits.rows = NULL
    permits.count = 0


# ---- configuration ----


class Permit(NamedTuple):
    """What one identity may do; limits of 0 are none. Without anything it may nothing.

    Patterns are a service's name, `prefix*` or `*`: of services it may use, and of those it may serve. `in_flight` is
    how many requests it may have open, `max_message_bytes` how large one may be.
    """

    allow: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    messages_per_second: float = 0.0
    bytes_per_second: float = 0.0
    in_flight: int = 0
    max_message_bytes: int = 0


def permits_pack(rows):
    """Permits of the numbers from 1 on, as the broker takes them. Raises ValueError for what cannot be one."""
    packed = [permit_pack(row) for row in rows]
    if len(packed) >= PERMIT_ROWS_MAX:
        raise ValueError(f"{len(packed)} permits are more than the {PERMIT_ROWS_MAX - 1} that there may be")
    return b"".join(packed)


cdef bytes permit_pack(row):
    try:
        head = struct.pack(
            "<QQQIHH", rate_parts(row.messages_per_second), rate_parts(row.bytes_per_second), row.max_message_bytes,
            row.in_flight, len(row.allow), len(row.serve),
        )
    except struct.error as error:
        raise ValueError(f"{row} has a number that does not fit: {error}") from None
    return head + b"".join([pattern_pack(pattern) for pattern in (*row.allow, *row.serve)])


# The least rate there is stands for all that are less.
cdef object rate_parts(rate):
    if not 0 <= rate <= RATE_MAX:
        raise ValueError(f"a rate of {rate} a second is not between 0 and {RATE_MAX}")
    return max(round(rate * (PARTS // 1000)), 1) if rate else 0


cdef bytes pattern_pack(str pattern):
    cdef bytes name = pattern.removesuffix("*").encode()
    is_prefix = pattern.endswith("*")
    if len(name) > NAME_BYTES_MAX or not is_name(<const uint8_t*><const char*>name, len(name)) or not pattern:
        raise ValueError(f"{pattern!r} is neither a service's name, nor the beginning of one with * behind it, nor *")
    return bytes((len(name) | (PATTERN_PREFIX if is_prefix else 0),)) + name


LIMITS = ("NONE", "SIZE", "IN_FLIGHT", "MESSAGES", "BYTES")


cdef class PermitsProbe:
    """A table by itself, and services by number that remember what was found. For the tests."""

    cdef Permits permits
    cdef Seen[64] seen

    def __dealloc__(self):
        cdef int number
        for number in range(64):
            free(self.seen[number].words)
        permits_close(&self.permits)

    def take(self, bytes packed, int64_t now_ms=0):
        """The table that it is from now on; False: it is none."""
        return permits_take(&self.permits, <const uint8_t*><const char*>packed, len(packed), now_ms) == 0

    def may_use(self, uint32_t row, str name, number=None):
        """By the patterns, or as remembered with a service's number, which is below 64."""
        cdef bytes service = name.encode()
        cdef const uint8_t* letters = <const uint8_t*><const char*>service
        if number is None:
            return bool(permits_match(&self.permits, row, letters, <uint8_t>len(service)))
        return bool(
            permits_allow(&self.permits, row, &self.seen[<int>number], letters, <uint8_t>len(service))
        )

    def may_serve(self, uint32_t row, str name):
        """May it offer the service?"""
        cdef bytes service = name.encode()
        return bool(
            permits_serve(&self.permits, row, <const uint8_t*><const char*>service, <uint8_t>len(service))
        )

    def forget(self, int number):
        """That number is another service's from now on."""
        seen_clear(&self.seen[number])

    def send(self, uint32_t row, uint64_t count, int64_t now_ms, uint32_t open_count=0):
        """Which limit a message of `count` bytes exceeds, by name, and in how many milliseconds a bucket has enough; it
        is taken out where there is none."""
        cdef PermitRow* permit = &self.permits.rows[row]
        cdef Limit limit = permit_exceeded(permit, open_count, count, now_ms)
        if limit == LIMIT_NONE:
            permit_spend(permit, count)
        if limit == LIMIT_MESSAGES:
            return LIMITS[<int>limit], bucket_wait_ms(&permit.messages, 1)
        return LIMITS[<int>limit], bucket_wait_ms(&permit.bytes, count) if limit == LIMIT_BYTES else 0

    @property
    def remembered_bytes(self):
        """By all services."""
        return sum([self.seen[number].rows // 4 for number in range(64)])
