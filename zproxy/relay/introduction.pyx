"""Introduction: what both sides say until it is known what the peer is; see introduction.pxd for the contract."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from zproxy.relay.cipher cimport Cipher, cipher_begin
from zproxy.relay.connection cimport (
    GREETING, HANDSHAKE, LIST_READ, REASON_FORGED, REASON_MALFORMED, REASON_MECHANISM, REASON_NO_MEMORY,
    REASON_VERSION, SIDE_BACKEND, SIDE_FRONTEND, Connection, list_append
)
from zproxy.relay.curve cimport (
    CURVE_HELLO, CURVE_MALFORMED, CURVE_OK, CURVE_WELCOME, CURVE_WRITTEN_MAX, CurveCode, curve_hello_read,
    curve_hello_write, curve_initiate_read, curve_initiate_write, curve_ready_read, curve_ready_write,
    curve_welcome_read, curve_welcome_write
)
from zproxy.relay.delivery cimport say, say_as_it_is
from zproxy.relay.handshake cimport (
    GREETING_BYTES, GREETING_GARBAGE, GREETING_MECHANISM, GREETING_NEED, GREETING_VERSION, MECHANISM_CURVE,
    MECHANISM_NULL, PROPERTIES_MAX, SIGNATURE_BYTES, GreetingCode, Mechanism, Ready, greeting_read, greeting_write,
    properties_read, properties_write, ready_read, ready_write
)
from zproxy.relay.hub cimport Hub, hub_doom, hub_enter
from zproxy.relay.inbox cimport inbox_has_more, inbox_take
from zproxy.relay.refusal cimport (
    PEER_GOES_ON, PEER_IS_INTRODUCED, PEER_IS_MALFORMED, PEER_IS_OVER, Verdict, peer_abandon, peer_refuse, peer_reject
)
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.zmtp cimport COMMAND_BYTES_MAX


# ---- greetings ----


cdef inline Mechanism mechanism_of(const Connection* connection) noexcept nogil:
    return MECHANISM_NULL if connection.cipher == NULL else MECHANISM_CURVE


cdef void introduction_begin(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[GREETING_BYTES] greeting
    cdef const Cipher* cipher = connection.cipher
    greeting_write(greeting, mechanism_of(connection), cipher != NULL and cipher.is_server)
    connection.may_write = True
    hub_enter(hub, connection, GREETING)
    say_as_it_is(hub, connection, greeting, GREETING_BYTES)


# A backend that asks nothing about its peers is ready at once; all others when theirs is there and all is settled.
cdef inline bint says_ready_first(const Hub* hub, const Connection* connection) noexcept nogil:
    return connection.side == SIDE_BACKEND and not hub.settings.asks


# The last word of our side of the handshake. A client of CURVE has said it before, in INITIATE.
cdef bint say_ready(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    cdef uint8_t[PROPERTIES_MAX] properties
    cdef bint is_router = connection.side == SIDE_FRONTEND
    cdef Cipher* cipher = connection.cipher
    if cipher == NULL:
        return say(hub, connection, frame, ready_write(frame, is_router))
    if not cipher.is_server:
        return True
    return say_as_it_is(hub, connection, frame, curve_ready_write(
        cipher.sodium, &cipher.curve, frame, properties, properties_write(properties, is_router)
    ))


# A step of ours; 0 bytes: the peer's key is none that anything can be closed for.
cdef Verdict curve_say(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil:
    if count == 0:
        return peer_refuse(hub, connection, REASON_FORGED)
    return PEER_GOES_ON if say_as_it_is(hub, connection, frame, count) else PEER_IS_OVER


# A client of CURVE begins.
cdef Verdict dial(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    cdef Cipher* cipher = connection.cipher
    return curve_say(hub, connection, frame, curve_hello_write(cipher.sodium, &cipher.curve, frame))


cdef Verdict introduction_greeting(Hub* hub, Connection* connection) noexcept nogil:
    cdef const uint8_t* bytes = NULL
    cdef size_t count = 0
    cdef GreetingCode code
    inbox_take(&connection.inbox, &hub.pool, GREETING_BYTES, &bytes, &count)
    code = greeting_read(bytes, count, mechanism_of(connection))
    if code == GREETING_NEED:
        return PEER_GOES_ON
    if code == GREETING_GARBAGE:
        return peer_abandon(hub, connection, REASON_MALFORMED, 0)
    if code == GREETING_VERSION:
        return peer_refuse(hub, connection, REASON_VERSION)     # an old libzmq, which would try again at once
    if code == GREETING_MECHANISM:
        return peer_reject(hub, connection, REASON_MECHANISM, 0)
    connection.can_ping = bytes[SIGNATURE_BYTES] > 3 or bytes[SIGNATURE_BYTES + 1] >= 1
    hub_enter(hub, connection, HANDSHAKE)
    if connection.cipher != NULL:
        return PEER_GOES_ON if connection.cipher.is_server else dial(hub, connection)
    if says_ready_first(hub, connection) and not say_ready(hub, connection):
        return PEER_IS_OVER
    return PEER_GOES_ON


# ---- CURVE ----


# From now on it is boxes that come and go. False: no memory, and it is doomed.
cdef bint boxes_begin(Hub* hub, Connection* connection) noexcept nogil:
    if cipher_begin(connection.cipher, &connection.inbox, &hub.pool) != 0:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    if connection.cipher.opening.is_fresh:
        list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)
    return True


cdef Verdict curve_failed(Hub* hub, Connection* connection, CurveCode code) noexcept nogil:
    return PEER_IS_MALFORMED if code == CURVE_MALFORMED else peer_refuse(hub, connection, REASON_FORGED)


# Has the peer proved to have its key? Then it has said what it is.
cdef Verdict curve_introduce(
    Hub* hub, Connection* connection, CurveCode code, const uint8_t* properties, size_t count, Ready* ready
) noexcept nogil:
    if code != CURVE_OK:
        return curve_failed(hub, connection, code)
    if not properties_read(properties, count, ready):
        return PEER_IS_MALFORMED
    connection.has_key = True
    memcpy(connection.key, connection.cipher.curve.peer, KEY_BYTES)
    if not connection.cipher.is_server and not boxes_begin(hub, connection):
        return PEER_IS_OVER         # boxes may stand behind READY: they are kept
    return PEER_IS_INTRODUCED


# HELLO, or INITIATE. Nothing may stand behind either.
cdef Verdict curve_serve_take(
    Hub* hub, Connection* connection, const uint8_t* body, size_t count, Ready* ready
) noexcept nogil:
    cdef uint8_t[COMMAND_BYTES_MAX] opened
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    cdef Cipher* cipher = connection.cipher
    cdef const uint8_t* properties = NULL
    cdef size_t properties_bytes = 0
    cdef CurveCode code
    if inbox_has_more(&connection.inbox):
        return PEER_IS_MALFORMED
    if cipher.curve.stage == CURVE_HELLO:
        code = curve_hello_read(cipher.sodium, &cipher.curve, body, count)
        if code != CURVE_OK:
            return curve_failed(hub, connection, code)
        return curve_say(hub, connection, frame, curve_welcome_write(cipher.sodium, &cipher.curve, frame))
    code = curve_initiate_read(
        cipher.sodium, &cipher.curve, body, count, opened, &properties, &properties_bytes
    )
    return curve_introduce(hub, connection, code, properties, properties_bytes, ready)


# WELCOME, or READY, behind which boxes may stand.
cdef Verdict curve_dial_take(
    Hub* hub, Connection* connection, const uint8_t* body, size_t count, Ready* ready
) noexcept nogil:
    cdef uint8_t[COMMAND_BYTES_MAX] opened
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    cdef Cipher* cipher = connection.cipher
    cdef const uint8_t* properties = opened
    cdef size_t properties_bytes = 0
    cdef CurveCode code
    if cipher.curve.stage == CURVE_WELCOME:
        code = curve_welcome_read(cipher.sodium, &cipher.curve, body, count)
        if code != CURVE_OK:
            return curve_failed(hub, connection, code)
        properties_bytes = properties_write(opened, connection.side == SIDE_FRONTEND)
        count = curve_initiate_write(cipher.sodium, &cipher.curve, frame, opened, properties_bytes)
        return curve_say(hub, connection, frame, count)
    code = curve_ready_read(cipher.sodium, &cipher.curve, body, count, opened, &properties, &properties_bytes)
    return curve_introduce(hub, connection, code, properties, properties_bytes, ready)


# ---- both ----


cdef Verdict introduction_command(
    Hub* hub, Connection* connection, const uint8_t* body, size_t count, Ready* ready
) noexcept nogil:
    if connection.cipher == NULL:
        return PEER_IS_INTRODUCED if ready_read(body, count, ready) else PEER_IS_MALFORMED
    hub.handshakes_left -= 1 if hub.handshakes_left else 0
    if connection.cipher.is_server:
        return curve_serve_take(hub, connection, body, count, ready)
    return curve_dial_take(hub, connection, body, count, ready)


cdef bint introduction_end(Hub* hub, Connection* connection) noexcept nogil:
    if connection.cipher == NULL:
        return says_ready_first(hub, connection) or say_ready(hub, connection)
    return say_ready(hub, connection) and (connection.cipher.is_on or boxes_begin(hub, connection))
