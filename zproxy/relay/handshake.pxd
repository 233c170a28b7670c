"""Handshake: ZMTP's greeting and NULL mechanism (RFC 23, RFC 37), and the commands spoken after it.

Pure and inline like zmtp.pxd: the same code is attacked alone by the tests. Our greeting goes out whole at
accept, because libzmq sends its first 10 bytes and waits.

    greeting(64)  = FF 8×00 7F | major minor | mechanism(20) | as-server | 31×00
    READY         = 5 "READY" properties
    properties    = (name-length(1) name value-length(4) value)*

CURVE says the same properties within its own commands: curve.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from zproxy.relay.zmtp cimport FRAME_COMMAND, FRAME_LONG, PING_CONTEXT_MAX, ROUTING_ID_MAX, be32_read, command_is

cdef enum:
    GREETING_BYTES = 64
    SIGNATURE_BYTES = 10
    MECHANISM_OFFSET = 12
    MECHANISM_BYTES = 20
    AS_SERVER_OFFSET = 32
    VERSION_MAJOR = 3
    VERSION_MINOR = 1
    HANDSHAKE_REPLY_MAX = 128   # the largest command written here
    PROPERTIES_MAX = 64

cdef enum GreetingCode:
    GREETING_OK
    GREETING_NEED               # right so far
    GREETING_GARBAGE            # not ZMTP, or ZMTP 1: nobody there would understand an answer
    GREETING_VERSION            # ZMTP 2
    GREETING_MECHANISM          # ZMTP 3 with a mechanism that is not ours

cdef enum Mechanism:
    MECHANISM_NULL
    MECHANISM_CURVE

cdef enum SocketType:
    SOCKET_UNKNOWN
    SOCKET_REQ
    SOCKET_REP
    SOCKET_DEALER
    SOCKET_ROUTER

cdef struct Ready:              # what a peer's properties said; points into them
    SocketType socket_type
    const uint8_t* routing_id
    uint8_t routing_id_bytes
    bint is_managed             # it announced itself: by X-zproxy, or by such a routing id


# `target`, which is zeroed.
cdef inline void mechanism_write(uint8_t* target, Mechanism mechanism) noexcept nogil:
    if mechanism == MECHANISM_CURVE:
        memcpy(target, <const uint8_t*>b"CURVE", 5)
    else:
        memcpy(target, <const uint8_t*>b"NULL", 4)


cdef inline void greeting_write(uint8_t* target, Mechanism mechanism, bint as_server) noexcept nogil:
    memset(target, 0, GREETING_BYTES)
    target[0] = 0xFF
    target[SIGNATURE_BYTES - 1] = 0x7F
    target[SIGNATURE_BYTES] = VERSION_MAJOR
    target[SIGNATURE_BYTES + 1] = VERSION_MINOR
    mechanism_write(target + MECHANISM_OFFSET, mechanism)
    target[AS_SERVER_OFFSET] = as_server


# Judges as much of a greeting as has come, so that garbage is refused at its first wrong byte.
cdef inline GreetingCode greeting_read(const uint8_t* bytes, size_t count, Mechanism mechanism) noexcept nogil:
    cdef uint8_t[MECHANISM_BYTES] wanted
    if count >= 1 and bytes[0] != 0xFF:
        return GREETING_GARBAGE
    if count >= SIGNATURE_BYTES and not bytes[SIGNATURE_BYTES - 1] & 1:
        return GREETING_GARBAGE
    if count > SIGNATURE_BYTES and bytes[SIGNATURE_BYTES] < VERSION_MAJOR:
        return GREETING_VERSION
    if count < GREETING_BYTES:
        return GREETING_NEED
    memset(wanted, 0, MECHANISM_BYTES)
    mechanism_write(wanted, mechanism)
    if memcmp(bytes + MECHANISM_OFFSET, wanted, MECHANISM_BYTES) != 0:
        return GREETING_MECHANISM
    return GREETING_OK


cdef inline SocketType socket_type_read(const uint8_t* name, size_t count) noexcept nogil:
    if count == 3 and memcmp(name, <const uint8_t*>b"REQ", 3) == 0:
        return SOCKET_REQ
    if count == 3 and memcmp(name, <const uint8_t*>b"REP", 3) == 0:
        return SOCKET_REP
    if count == 6 and memcmp(name, <const uint8_t*>b"DEALER", 6) == 0:
        return SOCKET_DEALER
    if count == 6 and memcmp(name, <const uint8_t*>b"ROUTER", 6) == 0:
        return SOCKET_ROUTER
    return SOCKET_UNKNOWN


# ZMTP's property names are case-insensitive.
cdef inline bint name_is(const uint8_t* name, size_t count, const char* wanted, size_t wanted_count) noexcept nogil:
    cdef size_t index
    cdef uint8_t letter
    if count != wanted_count:
        return False
    for index in range(count):
        letter = name[index]
        if c'A' <= letter <= c'Z':
            letter += 32
        if letter != <uint8_t>wanted[index]:
            return False
    return True


# A routing id that says the same as X-zproxy, where a peer cannot set that.
cdef inline bint routing_id_announces(const uint8_t* routing_id, size_t count) noexcept nogil:
    return count >= 5 and memcmp(routing_id, <const uint8_t*>b"\x00ZPX\x01", 5) == 0


# False: malformed. Unknown properties pass.
cdef inline bint properties_read(const uint8_t* body, size_t count, Ready* ready) noexcept nogil:
    cdef size_t offset = 0
    cdef size_t name_bytes
    cdef size_t value_bytes
    cdef const uint8_t* name
    ready.socket_type = SOCKET_UNKNOWN
    ready.routing_id = body
    ready.routing_id_bytes = 0
    ready.is_managed = False
    while offset < count:
        name_bytes = body[offset]
        name = body + offset + 1
        offset += 1 + name_bytes
        if name_bytes == 0 or offset + 4 > count:
            return False
        value_bytes = be32_read(body + offset)
        offset += 4
        if value_bytes > count - offset:
            return False
        if name_is(name, name_bytes, b"socket-type", 11):
            ready.socket_type = socket_type_read(body + offset, value_bytes)
        elif name_is(name, name_bytes, b"identity", 8):
            if value_bytes > ROUTING_ID_MAX:
                return False
            ready.routing_id = body + offset
            ready.routing_id_bytes = <uint8_t>value_bytes
            ready.is_managed = ready.is_managed or routing_id_announces(ready.routing_id, value_bytes)
        elif name_is(name, name_bytes, b"x-zproxy", 8):
            ready.is_managed = ready.is_managed or (value_bytes != 0 and body[offset] != c'0')
        offset += value_bytes
    return True


# Reads the body of a READY command. False: malformed.
cdef inline bint ready_read(const uint8_t* body, size_t count, Ready* ready) noexcept nogil:
    return command_is(body, count, b"READY", 5) and properties_read(body + 6, count - 6, ready)


cdef inline size_t property_write(
    uint8_t* target, const char* name, const char* value, uint8_t value_bytes
) noexcept nogil:
    cdef uint8_t name_bytes = 0
    while name[name_bytes]:
        target[1 + name_bytes] = <uint8_t>name[name_bytes]
        name_bytes += 1
    target[0] = name_bytes
    target += 1 + name_bytes
    memset(target, 0, 3)
    target[3] = value_bytes
    memcpy(target + 4, value, value_bytes)
    return 5 + <size_t>name_bytes + value_bytes


# Our properties; returns their bytes (at most PROPERTIES_MAX). `is_router`: as a frontend presents itself, else as a
# backend does: DEALER.
cdef inline size_t properties_write(uint8_t* target, bint is_router) noexcept nogil:
    cdef size_t count = property_write(target, b"Socket-Type", b"ROUTER" if is_router else b"DEALER", 6)
    return count + property_write(target + count, b"Identity", b"", 0)


# Our READY as a whole frame; returns its bytes (at most HANDSHAKE_REPLY_MAX).
cdef inline size_t ready_write(uint8_t* target, bint is_router) noexcept nogil:
    cdef size_t count = 6 + properties_write(target + 8, is_router)
    memcpy(target + 2, <const uint8_t*>b"\x05READY", 6)
    target[0] = FRAME_COMMAND
    target[1] = <uint8_t>count
    return 2 + count


# ERROR with a short reason, as a whole frame. A libzmq peer that gets one never comes back on this socket.
cdef inline size_t error_write(uint8_t* target, const char* reason, uint8_t reason_bytes) noexcept nogil:
    target[0] = FRAME_COMMAND
    target[1] = 7 + reason_bytes
    memcpy(target + 2, <const uint8_t*>b"\x05ERROR", 6)
    target[8] = reason_bytes
    memcpy(target + 9, reason, reason_bytes)
    return 9 + <size_t>reason_bytes


# PING without context and a time-to-live of 0 (we judge, the peer need not), as a whole frame.
cdef inline size_t ping_write(uint8_t* target) noexcept nogil:
    memcpy(target, <const uint8_t*>b"\x04\x07\x04PING\x00\x00", 9)
    return 9


# PONG echoing the context of the PING in `body`, its first 16 bytes at most (RFC 37). 0: the PING is malformed.
cdef inline size_t pong_write(uint8_t* target, const uint8_t* body, size_t count) noexcept nogil:
    cdef size_t context_bytes
    if count < 7:
        return 0
    context_bytes = min(count - 7, <size_t>PING_CONTEXT_MAX)
    target[0] = FRAME_COMMAND
    target[1] = <uint8_t>(5 + context_bytes)
    memcpy(target + 2, <const uint8_t*>b"\x04PONG", 5)
    memcpy(target + 7, body + 7, context_bytes)
    return 7 + context_bytes
