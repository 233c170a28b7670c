"""Targets: one function for each reader of hostile bytes; driver.c calls them, no Python is there. Those of
CURVE: targets_curve.pyx.

Each takes one input, reads it as the relay would, and holds what came out to a law; one that does not hold aborts.
Returns 1 where the input was understood, 0 where it was refused: the driver counts both.

The readers are the relay's own: what is inline in their .pxd is compiled again here, under the sanitizers.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from laws cimport hold, lies_within, properties_check
from zproxy.envelope cimport (
    ENVELOPE_BYTES_MAX, FAULT_NONE, EnvelopeView, Offer, envelope_read, envelope_write, offer_next
)
from zproxy.relay.handshake cimport (
    GREETING_BYTES, GREETING_NEED, GREETING_OK, MECHANISM_CURVE, MECHANISM_NULL, GreetingCode, Mechanism, Ready,
    greeting_read, pong_write, ready_read
)
from zproxy.relay.zmtp cimport (
    FRAME_MORE, LONG_HEADER_BYTES, ROUTING_ID_MAX, SCAN_COMMAND, SCAN_MESSAGE, SCAN_NEED, Frame, ScanCode,
    frame_read, frames_count, header_write, message_scan, routing_frame_read
)
from zproxy.skim cimport SKIM_NONE, skim_content, skim_value

cdef enum:
    MAX_MESSAGE_BYTES = 4096    # small, so that inputs reach it
    PONG_BYTES_MAX = 23


# ---- frames ----

# Scanning goes on where it stopped: what came in two pieces ends as what came in one.
cdef void scan_in_pieces(const uint8_t* bytes, size_t count, size_t cut, ScanCode whole, size_t end) noexcept nogil:
    cdef Frame frame
    cdef size_t scanned = 0
    cdef ScanCode code = message_scan(bytes, cut, MAX_MESSAGE_BYTES, &scanned, &frame)
    hold(scanned <= cut)
    if code == SCAN_NEED:
        code = message_scan(bytes, count, MAX_MESSAGE_BYTES, &scanned, &frame)
    hold(code == whole and scanned == end)


cdef void message_check(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    cdef uint8_t[LONG_HEADER_BYTES] header
    cdef uint32_t frames = frames_count(bytes, count)
    hold(1 <= frames <= count)
    if routing_frame_read(bytes, count, &frame):
        hold(frames > 1 and frame.body_bytes <= ROUTING_ID_MAX)
    frame_read(bytes, count, &frame)
    if frame.header_bytes == header_write(header, frame.flags & FRAME_MORE, frame.body_bytes):
        hold(memcmp(header, bytes, frame.header_bytes) == 0)


# Messages and commands, one after the other, as an inbox takes them.
cdef public int fuzz_zmtp(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    cdef ScanCode code
    cdef size_t scanned
    cdef int found = 0
    while True:
        scanned = 0
        code = message_scan(bytes, count, MAX_MESSAGE_BYTES, &scanned, &frame)
        hold(scanned <= count)
        scan_in_pieces(bytes, count, count // 2, code, scanned)
        if code == SCAN_MESSAGE:
            hold(scanned > 0)
            message_check(bytes, scanned)
        elif code == SCAN_COMMAND:
            scanned += frame.header_bytes + <size_t>frame.body_bytes
            hold(scanned <= count)
        else:
            return found
        bytes += scanned
        count -= scanned
        found = 1


# ---- the handshake ----

# The first bytes that are wrong say why, and more of them change nothing.
cdef GreetingCode greeting_judge(const uint8_t* bytes, size_t count, Mechanism mechanism) noexcept nogil:
    cdef GreetingCode code, whole = greeting_read(bytes, count, mechanism)
    cdef size_t end
    for end in range(min(count, <size_t>GREETING_BYTES)):
        code = greeting_read(bytes, end, mechanism)
        hold(code == GREETING_NEED or code == whole)
    return whole


cdef public int fuzz_greeting(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef GreetingCode null = greeting_judge(bytes, count, MECHANISM_NULL)
    cdef GreetingCode curve = greeting_judge(bytes, count, MECHANISM_CURVE)
    hold(null != GREETING_OK or curve != GREETING_OK)
    return null == GREETING_OK or curve == GREETING_OK


# A READY, a PING, or properties alone.
cdef public int fuzz_ready(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Ready ready
    cdef uint8_t* pong = <uint8_t*>malloc(PONG_BYTES_MAX)
    cdef size_t pong_bytes = pong_write(pong, bytes, count)
    hold(pong_bytes <= PONG_BYTES_MAX and (pong_bytes == 0) == (count < 7))
    free(pong)
    if ready_read(bytes, count, &ready):
        hold(lies_within(ready.routing_id, ready.routing_id_bytes, bytes, count))
        return 1
    return properties_check(bytes, count)


# ---- managed messages ----

# What is read is written as the same bytes.
cdef public int fuzz_envelope(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef EnvelopeView envelope
    cdef uint8_t* written
    if envelope_read(bytes, count, &envelope) != FAULT_NONE:
        return 0
    hold(count <= ENVELOPE_BYTES_MAX)
    written = <uint8_t*>malloc(count)
    hold(envelope_write(written, &envelope) == count and memcmp(written, bytes, count) == 0)
    free(written)
    return 1


cdef public int fuzz_offers(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Offer offer
    cdef size_t offset = 0, before = 0
    cdef int found
    while True:
        found = offer_next(bytes, count, &offset, &offer)
        if found != 1:
            hold(offset == before and (found != 0 or offset == count))
            return found == 0
        hold(offset > before and lies_within(offer.service, offer.service_bytes, bytes, count))
        before = offset


cdef public int fuzz_skim(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef uint64_t begin, end, again
    if skim_content(bytes, count, &begin, &end) != SKIM_NONE:
        hold(end <= count)
        return 0
    hold(0 < begin < end <= count)
    again = begin
    hold(skim_value(bytes, end, &again) == SKIM_NONE and again == end)
    return 1


# ---- the fuzzer itself ----

# Reads the byte behind an input that begins with "ZPX!": that it is found shows that the edges lead, byte by byte, and
# that the sanitizer sees it.
cdef public int fuzz_defect(const uint8_t* bytes, size_t count) noexcept nogil:
    if count < 4 or bytes[0] != c"Z":
        return 0
    if bytes[1] != c"P":
        return 0
    if bytes[2] != c"X":
        return 0
    return bytes[count] == 0 if bytes[3] == c"!" else 1
