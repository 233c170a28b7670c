"""Envelope: the managed message's first frame from Python, for the SDK and the tests; see envelope.pxd for what the
relay calls, which is the same code."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from zproxy.errors import MalformedEnvelope

# The words for each EnvelopeFault, in its order.
FAULTS = tuple((<const char*>FAULT_WORDS[<int>fault]).decode() for fault in range(<int>FAULT_COUNT))

NAME_MAX = NAME_BYTES_MAX
ALL_TLVS_MAX = TLV_BYTES_MAX
NO_TRACE = bytes(25)


cdef class Envelope:
    """One envelope, field by field as docs/protocol.md has them: times in milliseconds, `progress` in per cent.

        frame = Envelope(Kind.REQUEST, service="gradients", incarnation=7, sequence=1, remaining_ms=30000).pack()
        Envelope.parse(frame).service

    Names are str, `tlvs` bytes as `tlvs_pack` makes them, `trace` 25 bytes. `pack` writes whatever it was given.
    Raises ValueError for what does not fit its field, OverflowError for a number that does not.
    """

    cdef Head head
    cdef readonly str service
    cdef readonly str name
    cdef readonly bytes tlvs

    def __init__(
        self, uint8_t kind, *, str service="", str name="", bytes tlvs=b"", uint8_t priority=1, uint16_t flags=0,
        uint16_t code=0, uint16_t attempt=0, uint64_t incarnation=0, uint64_t sequence=0, uint64_t lease=0,
        uint32_t remaining_ms=0, uint32_t credit=0, uint64_t key_hash=0, uint64_t stream=0, uint64_t offset=0,
        uint64_t step=0, float progress=0.0, bytes trace=NO_TRACE, uint8_t max_attempts=0, uint64_t total=0,
        uint32_t conversation=0,
    ):
        cdef EnvelopeView view
        if len(service) > NAME_BYTES_MAX or len(name) > NAME_BYTES_MAX:
            raise ValueError(f"{service or name!r} is longer than {NAME_BYTES_MAX} bytes")
        if len(tlvs) > TLV_BYTES_MAX or len(trace) != 25:
            raise ValueError(f"TLVs have at most {TLV_BYTES_MAX} bytes, not {len(tlvs)}; a trace 25, not {len(trace)}")
        envelope_begin(&view, <Kind>kind)
        self.head = view.head
        self.service, self.name, self.tlvs = service, name, tlvs
        self.head.priority = priority
        self.head.flags = flags
        self.head.code = code
        self.head.attempt = attempt
        self.head.service_bytes = <uint8_t>len(service)
        self.head.name_bytes = <uint8_t>len(name)
        self.head.tlv_bytes = <uint16_t>len(tlvs)
        self.head.incarnation = incarnation
        self.head.sequence = sequence
        self.head.lease = lease
        self.head.remaining_ms = remaining_ms
        self.head.credit = credit
        self.head.key_hash = key_hash
        self.head.stream = stream
        self.head.offset = offset
        self.head.step = step
        self.head.progress = progress
        memcpy(self.head.trace, <const uint8_t*><const char*>trace, 25)
        self.head.max_attempts = max_attempts
        self.head.total = total
        self.head.conversation = conversation

    @staticmethod
    def parse(frame):
        """The envelope that `frame`, any bytes, is. Raises MalformedEnvelope, which says why it is none."""
        cdef Py_buffer buffer
        PyObject_GetBuffer(frame, &buffer, PyBUF_SIMPLE)
        try:
            return envelope_of(<const uint8_t*>buffer.buf, buffer.len)
        finally:
            PyBuffer_Release(&buffer)

    def pack(self):
        """Frame 0."""
        cdef uint8_t[ENVELOPE_BYTES_MAX] target
        cdef EnvelopeView view
        cdef bytes service = self.service.encode("utf-8")
        cdef bytes name = self.name.encode("utf-8")
        if len(service) != self.head.service_bytes or len(name) != self.head.name_bytes:
            raise ValueError(f"{self.service!r} and {self.name!r} have to be ASCII")
        view.head = self.head
        view.service = <const uint8_t*><const char*>service
        view.name = <const uint8_t*><const char*>name
        view.tlvs = <const uint8_t*><const char*>self.tlvs
        return target[:envelope_write(target, &view)]

    def answer_head(self, uint8_t kind):
        """Frame 0 of an answer to this delivery: its ids and its conversation, unchanged. As Envelope would pack it."""
        cdef EnvelopeView view
        envelope_begin(&view, <Kind>kind)
        view.head.incarnation = self.head.incarnation
        view.head.sequence = self.head.sequence
        view.head.lease = self.head.lease
        view.head.conversation = self.head.conversation
        return (<const uint8_t*>&view.head)[:HEAD_BYTES]

    def __repr__(self):
        fields = ", ".join(f"{name}={value!r}" for name, value in self.fields().items() if value)
        return f"Envelope({fields})"

    def fields(self):
        """All fields by name, as the constructor takes them."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def kind(self):
        return self.head.kind

    @property
    def priority(self):
        return self.head.priority

    @property
    def flags(self):
        return self.head.flags

    @property
    def code(self):
        return self.head.code

    @property
    def attempt(self):
        return self.head.attempt

    @property
    def incarnation(self):
        return self.head.incarnation

    @property
    def sequence(self):
        return self.head.sequence

    @property
    def lease(self):
        return self.head.lease

    @property
    def remaining_ms(self):
        return self.head.remaining_ms

    @property
    def credit(self):
        return self.head.credit

    @property
    def key_hash(self):
        return self.head.key_hash

    @property
    def stream(self):
        return self.head.stream

    @property
    def offset(self):
        return self.head.offset

    @property
    def step(self):
        return self.head.step

    @property
    def progress(self):
        return self.head.progress

    @property
    def trace(self):
        return (<const uint8_t*>self.head.trace)[:25]

    @property
    def max_attempts(self):
        return self.head.max_attempts

    @property
    def total(self):
        return self.head.total

    @property
    def conversation(self):
        return self.head.conversation


FIELDS = (
    "kind", "service", "name", "tlvs", "priority", "flags", "code", "attempt", "incarnation", "sequence", "lease",
    "remaining_ms", "credit", "key_hash", "stream", "offset", "step", "progress", "trace", "max_attempts", "total",
    "conversation",
)


cdef Envelope envelope_of(const uint8_t* bytes, Py_ssize_t count):
    cdef Envelope envelope = Envelope.__new__(Envelope)
    cdef EnvelopeView view
    cdef EnvelopeFault fault = envelope_read(bytes, count, &view)
    if fault != FAULT_NONE:
        raise MalformedEnvelope(f"an envelope of {count} bytes is refused: {FAULTS[<int>fault]}")
    envelope.head = view.head
    envelope.service = view.service[:view.head.service_bytes].decode("ascii")
    envelope.name = view.name[:view.head.name_bytes].decode("ascii")
    envelope.tlvs = view.tlvs[:view.head.tlv_bytes]
    return envelope


def request_head(
    uint8_t kind, bytes service, uint64_t incarnation, uint64_t sequence, uint32_t remaining_ms, uint32_t conversation
):
    """Frame 0 of a request or post that says no more than this; `service` is a good name. As Envelope would pack it."""
    cdef EnvelopeView view
    cdef uint8_t[HEAD_BYTES + NAME_BYTES_MAX] target
    if len(service) > NAME_BYTES_MAX:
        raise ValueError(f"{service!r} is longer than {NAME_BYTES_MAX} bytes")
    envelope_begin(&view, <Kind>kind)
    view.service = <const uint8_t*><const char*>service
    view.head.service_bytes = <uint8_t>len(service)
    view.head.incarnation = incarnation
    view.head.sequence = sequence
    view.head.remaining_ms = remaining_ms
    view.head.conversation = conversation
    return target[:envelope_write(target, &view)]


def key_hash(bytes key):
    """FNV-1a of a key's bytes, 64 bit, 0 made 1: what `key_hash` of a request holds."""
    cdef uint64_t value = 0xCBF29CE484222325
    cdef uint8_t byte
    for byte in key:
        value = (value ^ byte) * <uint64_t>0x100000001B3
    return value or 1


def tlvs_pack(entries):
    """The TLVs of {type: value}; values are bytes. Raises ValueError beyond 65,535 bytes each."""
    parts = []
    for kind, value in entries.items():
        if len(value) > 65535:
            raise ValueError(f"the value of TLV {kind} has {len(value)} bytes, at most 65535 fit")
        parts.append(int(kind).to_bytes(2, "little") + len(value).to_bytes(2, "little") + value)
    return b"".join(parts)


def tlvs_parse(bytes tlvs):
    """{type: value}, the last of each type. Raises MalformedEnvelope where they are cut off."""
    found = {}
    at = 0
    while at < len(tlvs):
        end = at + 4 + int.from_bytes(tlvs[at + 2:at + 4], "little")
        if at + 4 > len(tlvs) or end > len(tlvs):
            raise MalformedEnvelope(f"{len(tlvs)} bytes of TLVs are cut off inside the one at {at}")
        found[int.from_bytes(tlvs[at:at + 2], "little")] = tlvs[at + 4:end]
        at = end
    return found


def offers_pack(offers):
    """READY's frame 1, of (service, lease_ms, flags)."""
    return b"".join(
        bytes([flags, len(service)]) + b"\0\0" + lease_ms.to_bytes(4, "little") + service.encode("ascii")
        for service, lease_ms, flags in offers
    )


def offers_parse(const uint8_t[::1] content):
    """[(service, lease_ms, flags)] of READY's frame 1, or None: malformed."""
    cdef Offer offer
    cdef size_t offset = 0
    cdef int code = 1
    cdef const uint8_t* bytes = &content[0] if content.shape[0] else NULL
    found = []
    while True:
        code = offer_next(bytes, content.shape[0], &offset, &offer)
        if code != 1:
            return found if code == 0 else None
        found.append((offer.service[:offer.service_bytes].decode("ascii"), offer.lease_ms, offer.flags))
