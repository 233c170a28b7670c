"""Envelope: the first frame of a managed message, and the codes of the protocol (docs/protocol.md): their one source.

    head(128) | service | name | TLVs

Pure and inline like zmtp.pxd: read without allocation, checked in one place, attacked alone by the tests. The head is
a plain struct whose fields lie where the protocol has them, so reading is one copy and a few comparisons.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "zproxy reads little-endian envelopes in place"
    #endif
    static const char* const zproxy_envelope_faults[] = {
        "",
        "it is shorter than 128 bytes",
        "it does not begin with 5A 50 58 01",
        "it is longer or shorter than its lengths say, or one of them is over its limit",
        "its kind is unknown",
        "its priority is above 2",
        "it has a flag that is unknown and must be understood",
        "its name has a character besides A-Z a-z 0-9 _ . / -",
        "its service has a character besides A-Z a-z 0-9 _ . / -",
        "it lacks a field that its kind needs, or one is out of its range",
    };
    """
    const char** FAULT_WORDS "zproxy_envelope_faults"   # for each EnvelopeFault, in its order

cdef enum:
    HEAD_BYTES = 128
    NAME_BYTES_MAX = 64         # of a service, of a peer
    TLV_BYTES_MAX = 4096
    ENVELOPE_BYTES_MAX = 4352   # HEAD_BYTES + 2 * NAME_BYTES_MAX + TLV_BYTES_MAX
    ENVELOPE_MAGIC = 0x0158505A  # "ZPX", version 1
    PRIORITY_MAX = 2
    CREDIT_MAX = 65535
    REMAINING_MS_MAX = 0x7FFFFFFF
    FLAGS_KNOWN = 0x1FFF        # of the high byte all must be understood
    OFFER_HEAD_BYTES = 8        # of one service in READY
    OFFERS_MAX = 1024
    OFFER_NOT_IDEMPOTENT = 1

cpdef enum Kind:
    WELCOME = 1
    HELLO = 2
    READY = 3
    CREDIT = 4
    GOODBYE = 5
    ACCEPTED = 6
    REQUEST = 16
    POST = 17
    REPLY = 18
    ERROR = 19
    CANCEL = 20
    PROGRESS = 21
    CHUNK = 32
    WINDOW = 33

cpdef enum Flag:
    RESENT = 0x0001
    WANTS_PROGRESS = 0x0002
    WANTS_ACCEPTED = 0x0004
    HAS_STEP = 0x0008
    HAS_PROGRESS = 0x0010
    NOT_IDEMPOTENT = 0x0100
    RETRY_ERRORS = 0x0200
    ORDERED = 0x0400
    LAST = 0x0800
    SHARED = 0x1000

cpdef enum Code:
    MALFORMED = 1
    NEED_HELLO = 2
    NAME_IN_USE = 3
    FENCED = 4
    DENIED = 5
    UNKNOWN_SERVICE = 6
    NO_WORKER = 7
    BUSY = 8
    TIMEOUT = 9
    WORKER_LOST = 10
    RETRIES_EXHAUSTED = 11
    POISON = 12
    TOO_LARGE = 13
    DRAINING = 14
    HANDLER_ERROR = 15
    CANCELLED = 16
    ALREADY_DONE = 17
    OUTCOME_UNKNOWN = 18
    RESEND = 19
    NOT_SHARED = 20
    CODE_YOURS = 0x8000         # from here on the application's

cpdef enum Tlv:
    SENTENCE = 1
    AGENT = 2
    TRACESTATE = 3
    TIMES = 4

cdef enum EnvelopeFault:        # why an envelope is MALFORMED; FAULT_WORDS has the words
    FAULT_NONE
    FAULT_SHORT
    FAULT_MAGIC
    FAULT_LENGTH
    FAULT_KIND
    FAULT_PRIORITY
    FAULT_FLAGS
    FAULT_NAME
    FAULT_SERVICE
    FAULT_FIELD                 # one that its kind needs is missing or out of its range
    FAULT_COUNT

cdef struct Head:               # as on the wire; every field lies on its natural boundary
    uint32_t magic
    uint8_t kind
    uint8_t priority
    uint16_t flags
    uint16_t code
    uint16_t attempt
    uint8_t service_bytes
    uint8_t zero_13
    uint16_t tlv_bytes
    uint64_t incarnation
    uint64_t sequence
    uint64_t lease
    uint32_t remaining_ms
    uint32_t credit
    uint64_t key_hash
    uint64_t stream
    uint64_t offset
    uint64_t step
    float progress
    uint8_t[25] trace
    uint8_t max_attempts
    uint8_t name_bytes
    uint8_t zero_111
    uint64_t total
    uint32_t conversation
    uint32_t zero_124

cdef struct EnvelopeView:       # a head, and where the rest of it lies; owns nothing
    Head head
    const uint8_t* service      # head.service_bytes of it
    const uint8_t* name         # head.name_bytes
    const uint8_t* tlvs         # head.tlv_bytes

cdef struct Offer:              # one service of READY; points into it
    const uint8_t* service
    uint8_t service_bytes
    uint8_t flags
    uint32_t lease_ms


# A–Z a–z 0–9 _ . / -
cdef inline bint is_name_byte(uint8_t letter) noexcept nogil:
    if c'-' <= letter <= c'9':                  # - . / and the digits
        return True
    return c'a' <= letter <= c'z' or c'A' <= letter <= c'Z' or letter == c'_'


cdef inline bint is_name(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef size_t index
    for index in range(count):
        if not is_name_byte(bytes[index]):
            return False
    return True


# An empty one of `kind`, to be filled and written.
cdef inline void envelope_begin(EnvelopeView* envelope, Kind kind) noexcept nogil:
    memset(envelope, 0, sizeof(EnvelopeView))
    envelope.head.magic = ENVELOPE_MAGIC
    envelope.head.kind = <uint8_t>kind
    envelope.head.priority = 1


cdef inline bint is_known_kind(uint8_t kind) noexcept nogil:
    return 1 <= kind <= 6 or 16 <= kind <= 21 or kind == 32 or kind == 33


# Has it what its kind needs, whoever sends it?
cdef inline bint head_has_its_fields(const Head* head) noexcept nogil:
    cdef uint8_t kind = head.kind
    if kind == <uint8_t>REQUEST or kind == <uint8_t>POST:
        if head.flags & <int>ORDERED and head.key_hash == 0:
            return False
        return (
            head.service_bytes != 0 and head.incarnation != 0 and head.sequence != 0
            and 1 <= head.remaining_ms <= <uint32_t>REMAINING_MS_MAX
        )
    if (
        kind == <uint8_t>REPLY or kind == <uint8_t>CANCEL or kind == <uint8_t>PROGRESS or kind == <uint8_t>WINDOW
    ):
        return head.incarnation != 0 and head.sequence != 0
    if kind == <uint8_t>ERROR:
        return head.code != 0
    if kind == <uint8_t>HELLO or kind == <uint8_t>READY:
        return head.name_bytes != 0 and head.incarnation != 0 and head.credit <= <uint32_t>CREDIT_MAX
    if kind == <uint8_t>CREDIT:
        return head.credit <= <uint32_t>CREDIT_MAX
    if kind == <uint8_t>CHUNK:
        return head.incarnation != 0 and head.sequence != 0 and head.stream != 0
    return True


# Reads frame 0. What `envelope` points to lies in `bytes`.
cdef inline EnvelopeFault envelope_read(const uint8_t* bytes, size_t count, EnvelopeView* envelope) noexcept nogil:
    cdef Head* head = &envelope.head
    if count < HEAD_BYTES:
        return FAULT_SHORT
    memcpy(head, bytes, HEAD_BYTES)
    if head.magic != <uint32_t>ENVELOPE_MAGIC:
        return FAULT_MAGIC
    if head.service_bytes > NAME_BYTES_MAX or head.name_bytes > NAME_BYTES_MAX or head.tlv_bytes > TLV_BYTES_MAX:
        return FAULT_LENGTH
    if <size_t>HEAD_BYTES + head.service_bytes + head.name_bytes + head.tlv_bytes != count:
        return FAULT_LENGTH
    if not is_known_kind(head.kind):
        return FAULT_KIND
    if head.priority > PRIORITY_MAX:
        return FAULT_PRIORITY
    if head.flags & 0xFF00 & ~FLAGS_KNOWN:
        return FAULT_FLAGS
    envelope.service = bytes + HEAD_BYTES
    envelope.name = envelope.service + head.service_bytes
    envelope.tlvs = envelope.name + head.name_bytes
    if not is_name(envelope.service, head.service_bytes):
        return FAULT_SERVICE
    if not is_name(envelope.name, head.name_bytes):
        return FAULT_NAME
    return FAULT_NONE if head_has_its_fields(head) else FAULT_FIELD


cdef inline size_t envelope_bytes(const EnvelopeView* envelope) noexcept nogil:
    cdef const Head* head = &envelope.head
    return <size_t>HEAD_BYTES + head.service_bytes + head.name_bytes + head.tlv_bytes


# Writes frame 0's body; returns its bytes, at most ENVELOPE_BYTES_MAX. The target is none of the sources.
cdef inline size_t envelope_write(uint8_t* target, const EnvelopeView* envelope) noexcept nogil:
    cdef const Head* head = &envelope.head
    memcpy(target, head, HEAD_BYTES)
    target += HEAD_BYTES
    if head.service_bytes:
        memcpy(target, envelope.service, head.service_bytes)
    target += head.service_bytes
    if head.name_bytes:
        memcpy(target, envelope.name, head.name_bytes)
    target += head.name_bytes
    if head.tlv_bytes:
        memcpy(target, envelope.tlvs, head.tlv_bytes)
    return envelope_bytes(envelope)


# The next service of READY's frame 1, from `*offset` on, which moves behind it. 1; 0: there is no more; -1: malformed.
cdef inline int offer_next(const uint8_t* bytes, size_t count, size_t* offset, Offer* offer) noexcept nogil:
    cdef const uint8_t* at = bytes + offset[0]
    cdef size_t left = count - offset[0]
    if left == 0:
        return 0
    if left < OFFER_HEAD_BYTES or at[1] == 0 or at[1] > NAME_BYTES_MAX or left - OFFER_HEAD_BYTES < at[1]:
        return -1
    offer.flags = at[0]
    offer.service_bytes = at[1]
    memcpy(&offer.lease_ms, at + 4, sizeof(uint32_t))
    offer.service = at + OFFER_HEAD_BYTES
    if not is_name(offer.service, offer.service_bytes) and not (offer.service_bytes == 1 and offer.service[0] == c'*'):
        return -1
    offset[0] += <size_t>OFFER_HEAD_BYTES + offer.service_bytes
    return 1
