"""ZMTP 3.x frames ⇄ bytes (RFC 23, RFC 37), in steps of "need n bytes".

Pure: plain bytes in, plain structs out, everything inline. No memory of its own, nothing cimported, so the
same code builds into the relay, into the tests and into a fuzz target. Takes hostile bytes.

    frame    = flags(1) size(1 or 8, big-endian) body
    message  = frame* of which all but the last carry MORE
    command  = a frame with COMMAND; may stand between two frames of one message (libzmq does that)
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum FrameFlag:
    FRAME_MORE = 1
    FRAME_LONG = 2
    FRAME_COMMAND = 4
    FRAME_KNOWN = 7             # every other bit is reserved and must be zero

cdef enum:
    SHORT_HEADER_BYTES = 2
    LONG_HEADER_BYTES = 9
    SHORT_BODY_MAX = 255
    COMMAND_BYTES_MAX = 4000    # READY with its metadata; a whole command fits a SMALL block
    HEADERS_ALLOWANCE = 65536   # frame headers a message may carry beyond max_message
    PING_CONTEXT_MAX = 16
    ROUTING_ID_MAX = 255

cdef enum ScanCode:
    SCAN_MESSAGE                # a whole message ends here
    SCAN_COMMAND                # a whole command stands here
    SCAN_NEED                   # more bytes are needed
    SCAN_MALFORMED              # never valid ZMTP
    SCAN_TOO_LARGE              # valid, above the limit

cdef struct Frame:              # the header of one frame
    uint64_t body_bytes
    uint32_t header_bytes       # 2 or 9; 0 while the header itself is incomplete
    uint8_t flags               # FrameFlag


cdef inline uint64_t be64_read(const uint8_t* source) noexcept nogil:
    cdef uint64_t value = 0
    cdef int index
    for index in range(8):
        value = (value << 8) | source[index]
    return value


cdef inline uint32_t be32_read(const uint8_t* source) noexcept nogil:
    return (<uint32_t>source[0] << 24) | (<uint32_t>source[1] << 16) | (<uint32_t>source[2] << 8) | source[3]


# Header of the frame at `bytes`. SCAN_MESSAGE or SCAN_COMMAND (the kind of frame), SCAN_NEED, SCAN_MALFORMED.
cdef inline ScanCode frame_read(const uint8_t* bytes, size_t count, Frame* frame) noexcept nogil:
    frame.header_bytes = 0
    frame.body_bytes = 0
    if count < 1:
        return SCAN_NEED
    frame.flags = bytes[0]
    if frame.flags & ~FRAME_KNOWN or frame.flags & (FRAME_COMMAND | FRAME_MORE) == (FRAME_COMMAND | FRAME_MORE):
        return SCAN_MALFORMED
    if frame.flags & FRAME_LONG:
        if count < LONG_HEADER_BYTES:
            return SCAN_NEED
        frame.body_bytes = be64_read(bytes + 1)
        if frame.body_bytes >> 63:
            return SCAN_MALFORMED
        frame.header_bytes = LONG_HEADER_BYTES
    else:
        if count < SHORT_HEADER_BYTES:
            return SCAN_NEED
        frame.body_bytes = bytes[1]
        frame.header_bytes = SHORT_HEADER_BYTES
    return SCAN_COMMAND if frame.flags & FRAME_COMMAND else SCAN_MESSAGE


# Is the frame within the limits, standing `offset` bytes into its message? (Commands have a limit of their own.)
cdef inline bint frame_fits(const Frame* frame, uint64_t offset, uint64_t max_message_bytes) noexcept nogil:
    if frame.flags & FRAME_COMMAND:
        return frame.body_bytes <= COMMAND_BYTES_MAX
    if frame.body_bytes > max_message_bytes:
        return False
    return offset + frame.header_bytes + frame.body_bytes <= max_message_bytes + HEADERS_ALLOWANCE


# Walks whole frames from `*scanned` to the end of the message that begins at `bytes`.
# SCAN_MESSAGE: it ends at `*scanned`. SCAN_COMMAND: a whole command stands at `*scanned` (not counted in).
# SCAN_NEED: `*scanned` bytes are whole frames; `frame` is the next, as far as known.
cdef inline ScanCode message_scan(
    const uint8_t* bytes, size_t count, uint64_t max_message_bytes, size_t* scanned, Frame* frame
) noexcept nogil:
    cdef ScanCode code
    cdef size_t offset = scanned[0]
    cdef uint64_t frame_bytes
    while True:
        code = frame_read(bytes + offset, count - offset, frame)
        if code == SCAN_NEED or code == SCAN_MALFORMED:
            break
        if not frame_fits(frame, offset, max_message_bytes):
            code = SCAN_TOO_LARGE
            break
        frame_bytes = frame.header_bytes + frame.body_bytes
        if frame_bytes > count - offset:
            code = SCAN_NEED
            break
        if code == SCAN_COMMAND:
            break
        offset += <size_t>frame_bytes
        if not frame.flags & FRAME_MORE:
            break
    scanned[0] = offset
    return code


# How many frames stand in `bytes`, which end with one.
cdef inline uint32_t frames_count(const uint8_t* bytes, size_t count) noexcept nogil:
    cdef Frame frame
    cdef size_t offset = 0
    cdef uint32_t found = 0
    while offset < count:
        frame_read(bytes + offset, count - offset, &frame)
        offset += frame.header_bytes + <size_t>frame.body_bytes
        found += 1
    return found


# The header of a frame that carries `count` bytes; returns its own bytes, 2 or 9.
cdef inline uint32_t header_write(uint8_t* target, bint has_more, uint64_t count) noexcept nogil:
    cdef int index
    target[0] = FRAME_MORE if has_more else 0
    if count <= 255:
        target[1] = <uint8_t>count
        return SHORT_HEADER_BYTES
    target[0] |= FRAME_LONG
    for index in range(8):
        target[1 + index] = <uint8_t>(count >> (56 - 8 * index))
    return LONG_HEADER_BYTES


# The first frame of a whole message, when it is a routing id with frames behind it: its header, else False.
cdef inline bint routing_frame_read(const uint8_t* bytes, size_t count, Frame* frame) noexcept nogil:
    if frame_read(bytes, count, frame) != SCAN_MESSAGE or not frame.flags & FRAME_MORE:
        return False
    return frame.body_bytes <= ROUTING_ID_MAX and frame.header_bytes + frame.body_bytes < count


# Writes a short frame (body of at most 255 bytes); returns its bytes, at most 257.
cdef inline size_t short_frame_write(uint8_t* target, uint8_t flags, const uint8_t* body, uint8_t count) noexcept nogil:
    target[0] = flags
    target[1] = count
    memcpy(target + SHORT_HEADER_BYTES, body, count)
    return SHORT_HEADER_BYTES + <size_t>count


# Is this command's name `name`? (`body` begins with the name's length.)
cdef inline bint command_is(const uint8_t* body, size_t count, const char* name, uint8_t name_bytes) noexcept nogil:
    cdef uint8_t index
    if count < <size_t>name_bytes + 1 or body[0] != name_bytes:
        return False
    for index in range(name_bytes):
        if body[1 + index] != <uint8_t>name[index]:
            return False
    return True
