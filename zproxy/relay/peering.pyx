"""Peering: the conversation with one peer that is not messages; see peering.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from zproxy.counters cimport (
    CLOSED_FENCED, CLOSED_FORGED, CLOSED_HEARTBEAT, CLOSED_MALFORMED, CLOSED_PEER_ERROR, CLOSED_STALLED,
    CLOSED_TOO_LARGE, CLOSED_UNACKNOWLEDGED, PINGS_IN, PINGS_OUT, PONGS_DROPPED, PONGS_IN, REFUSED_FORGED,
    REFUSED_LIMIT, REFUSED_MALFORMED, REFUSED_MECHANISM, REFUSED_NAME_IN_USE, REFUSED_ROUTING_ID, REFUSED_SOCKET_TYPE,
    REFUSED_UNKNOWN_KEY, REFUSED_VERSION, counter_add
)
from zproxy.names cimport NAME_NONE, names_add, names_find
from zproxy.relay.cipher cimport Cipher, cipher_begin
from zproxy.relay.connection cimport (
    ASKED, GREETING, HANDSHAKE, LIST_READ, READY, REASON_DENIED, REASON_EXPIRED, REASON_FENCED, REASON_FORGED,
    REASON_HEARTBEAT, REASON_LIMIT, REASON_MALFORMED, REASON_MECHANISM, REASON_NAME_IN_USE, REASON_NONE,
    REASON_NO_MEMORY, REASON_PEER_ERROR, REASON_ROUTING_ID, REASON_SOCKET_TYPE, REASON_STALLED, REASON_TOO_LARGE,
    REASON_UNACKNOWLEDGED, REASON_UNKNOWN_KEY, REASON_VERSION, REASON_WRONG_ROLE, REASON_WRONG_USER, REFUSED, REJECTED,
    SIDE_BACKEND, SIDE_FRONTEND, TIMER_ACKNOWLEDGE, TIMER_CHALLENGE, TIMER_HANDSHAKE, TIMER_REFUSED, TIMER_STALL,
    WAITING, Connection, Reason, beat_timer, connection_is_unread, list_append, list_remove
)
from zproxy.relay.curve cimport (
    CURVE_HELLO, CURVE_MALFORMED, CURVE_OK, CURVE_WELCOME, CURVE_WRITTEN_MAX, CurveCode, curve_hello_read,
    curve_hello_write, curve_initiate_read, curve_initiate_write, curve_ready_read, curve_ready_write,
    curve_welcome_read, curve_welcome_write
)
from zproxy.relay.handshake cimport (
    GREETING_BYTES, GREETING_GARBAGE, GREETING_MECHANISM, GREETING_NEED, GREETING_VERSION, HANDSHAKE_REPLY_MAX,
    MECHANISM_CURVE, MECHANISM_NULL, PROPERTIES_MAX, SIGNATURE_BYTES, SOCKET_DEALER, SOCKET_REP, SOCKET_REQ,
    SOCKET_ROUTER, GreetingCode, Mechanism, Ready, SocketType, error_write, greeting_read, greeting_write, ping_write,
    pong_write, properties_read, properties_write, ready_read, ready_write
)
from zproxy.relay.hub cimport (
    REFUSED_HELD_MAX, Hub, connection_tag, hub_arm, hub_disarm, hub_doom, hub_enter, hub_random, hub_refused, hub_tell,
    hub_want_flush
)
from zproxy.relay.inbox cimport inbox_has_more, inbox_take
from zproxy.relay.intake cimport intake_holds_up, outbox_budget
from zproxy.relay.mailbox cimport EVENT_CONNECTED, EVENT_REFUSED, Question, mailbox_ask
from zproxy.relay.outbox cimport outbox_room, outbox_wire
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.tcp cimport TCP_AWAITS, TCP_DEAD, Acknowledgement, socket_uid, tcp_judge
from zproxy.relay.timer cimport Timer, timer_arm_first
from zproxy.relay.zmtp cimport COMMAND_BYTES_MAX, FRAME_MORE, command_is, short_frame_write


# Queues a frame of our own; False: no memory, and the connection is doomed.
cdef bint say(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil:
    cdef uint8_t* target = outbox_room(&connection.outbox, &hub.pool, count)
    if target == NULL:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    memcpy(target, frame, count)
    hub_want_flush(hub, connection)
    return True


# The same of what goes out as it is, whatever the mechanism.
cdef bint say_plainly(Hub* hub, Connection* connection, const uint8_t* frame, size_t count) noexcept nogil:
    if outbox_wire(&connection.outbox, &hub.pool, frame, count) != 0:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    hub_want_flush(hub, connection)
    return True


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
    return say_plainly(hub, connection, frame, curve_ready_write(
        cipher.sodium, &cipher.curve, frame, properties, properties_write(properties, is_router)
    ))


cdef bint say_ping(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
    connection.pinged_ms = hub.now_ms
    counter_add(&hub.counters, PINGS_OUT, 1)
    return say(hub, connection, frame, ping_write(frame))


cdef inline Mechanism mechanism_of(const Connection* connection) noexcept nogil:
    return MECHANISM_NULL if connection.cipher == NULL else MECHANISM_CURVE


cdef int refusal_counter(Reason reason, bint was_ready) noexcept nogil:
    if reason == REASON_TOO_LARGE:
        return CLOSED_TOO_LARGE
    if reason == REASON_MALFORMED:
        return CLOSED_MALFORMED if was_ready else REFUSED_MALFORMED
    if reason == REASON_SOCKET_TYPE:
        return REFUSED_SOCKET_TYPE
    if reason == REASON_MECHANISM:
        return REFUSED_MECHANISM
    if reason == REASON_VERSION:
        return REFUSED_VERSION
    if reason == REASON_ROUTING_ID:
        return REFUSED_ROUTING_ID
    if reason == REASON_LIMIT:
        return REFUSED_LIMIT
    if reason == REASON_FORGED:
        return CLOSED_FORGED if was_ready else REFUSED_FORGED
    if reason in (REASON_UNKNOWN_KEY, REASON_EXPIRED, REASON_WRONG_ROLE, REASON_WRONG_USER, REASON_DENIED):
        return REFUSED_UNKNOWN_KEY + (<int>reason - <int>REASON_UNKNOWN_KEY)
    return REFUSED_NAME_IN_USE


# Counts and tells a refusal, and takes the peer out of everything but its own end.
cdef void refusal_begin(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    cdef uint64_t limit = hub.settings.max_message_bytes if reason == REASON_TOO_LARGE else 0
    counter_add(&hub.counters, refusal_counter(reason, connection.state == READY), 1)
    connection.reason = reason
    connection.reason_size = size
    hub_tell(hub, EVENT_REFUSED, connection, reason, size, limit)
    hub_disarm(hub, connection, TIMER_HANDSHAKE)
    hub_disarm(hub, connection, TIMER_CHALLENGE)
    hub_disarm(hub, connection, beat_timer(connection))
    hub_disarm(hub, connection, TIMER_STALL)
    list_remove(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef void peering_refuse(Hub* hub, Connection* connection, Reason reason) noexcept nogil:
    cdef Connection* oldest
    refusal_begin(hub, connection, reason, 0)
    hub_enter(hub, connection, REFUSED)
    connection.refused_steps = REFUSED_STEPS_MIN + <uint32_t>(hub_random(hub) & 3)
    hub_arm(hub, connection, TIMER_REFUSED)
    if hub_refused(hub) > REFUSED_HELD_MAX:
        oldest = hub.table[hub.timers[<int>TIMER_REFUSED].first.slot]
        hub_disarm(hub, oldest, TIMER_REFUSED)      # the next one refused in this turn ends another
        hub_doom(hub, oldest, REASON_NONE, 0)


cdef void peering_abandon(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    refusal_begin(hub, connection, reason, size)
    hub_doom(hub, connection, reason, size)


cdef void peering_reject(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
    cdef size_t count
    if reason == REASON_TOO_LARGE:
        count = error_write(frame, b"too_large", 9)
    elif reason == REASON_SOCKET_TYPE:
        count = error_write(frame, b"socket_type", 11)
    elif reason == REASON_MECHANISM:
        count = error_write(frame, b"mechanism", 9)
    elif reason == REASON_ROUTING_ID:
        count = error_write(frame, b"routing_id", 10)
    else:
        count = error_write(frame, b"malformed", 9)
    refusal_begin(hub, connection, reason, size)
    if say_plainly(hub, connection, frame, count):
        hub_enter(hub, connection, REJECTED)
        connection.refused_steps = REFUSED_STEPS_MIN
        hub_arm(hub, connection, TIMER_REFUSED)


cdef void peering_refused_over(Hub* hub, Connection* connection) noexcept nogil:
    connection.refused_steps -= 1
    if connection.refused_steps == 0:
        hub_doom(hub, connection, connection.reason, 0)
        return
    hub_arm(hub, connection, TIMER_REFUSED)


cdef void peering_greet(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[GREETING_BYTES] greeting
    cdef const Cipher* cipher = connection.cipher
    greeting_write(greeting, mechanism_of(connection), cipher != NULL and cipher.is_server)
    connection.may_write = True
    hub_enter(hub, connection, GREETING)
    say_plainly(hub, connection, greeting, GREETING_BYTES)


# A backend that asks nothing about its peers is ready at once; all others when theirs is there and all is settled.
cdef inline bint says_ready_first(const Hub* hub, const Connection* connection) noexcept nogil:
    return connection.side == SIDE_BACKEND and not hub.settings.asks


# A client of CURVE begins.
cdef Verdict dial(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[CURVE_WRITTEN_MAX] frame
    cdef Cipher* cipher = connection.cipher
    cdef size_t count = curve_hello_write(cipher.sodium, &cipher.curve, frame)
    if count == 0:
        peering_refuse(hub, connection, REASON_FORGED)
        return PEER_IS_OVER
    return PEER_GOES_ON if say_plainly(hub, connection, frame, count) else PEER_IS_OVER


cdef Verdict peering_greeting(Hub* hub, Connection* connection) noexcept nogil:
    cdef const uint8_t* bytes = NULL
    cdef size_t count = 0
    cdef GreetingCode code
    inbox_take(&connection.inbox, &hub.pool, GREETING_BYTES, &bytes, &count)
    code = greeting_read(bytes, count, mechanism_of(connection))
    if code == GREETING_NEED:
        return PEER_GOES_ON
    if code == GREETING_GARBAGE:
        peering_abandon(hub, connection, REASON_MALFORMED, 0)
        return PEER_IS_OVER
    if code == GREETING_VERSION:
        peering_refuse(hub, connection, REASON_VERSION)     # an old libzmq, which would try again at once
        return PEER_IS_OVER
    if code == GREETING_MECHANISM:
        peering_reject(hub, connection, REASON_MECHANISM, 0)
        return PEER_IS_OVER
    connection.can_ping = bytes[SIGNATURE_BYTES] > 3 or bytes[SIGNATURE_BYTES + 1] >= 1
    hub_enter(hub, connection, HANDSHAKE)
    if connection.cipher != NULL:
        return PEER_GOES_ON if connection.cipher.is_server else dial(hub, connection)
    if says_ready_first(hub, connection) and not say_ready(hub, connection):
        return PEER_IS_OVER
    return PEER_GOES_ON


cdef bint socket_type_fits(const Connection* connection, SocketType socket_type) noexcept nogil:
    if connection.is_managed:
        return socket_type == SOCKET_DEALER
    if connection.side == SIDE_FRONTEND:
        return socket_type in (SOCKET_REQ, SOCKET_DEALER, SOCKET_ROUTER)
    return socket_type in (SOCKET_REP, SOCKET_DEALER, SOCKET_ROUTER)


# Five bytes, the first zero, as libzmq generates them: no peer may choose one like it.
cdef void routing_id_generate(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint32_t number
    connection.routing_id_bytes = 5
    connection.routing_id[0] = 0
    while True:
        number = <uint32_t>hub_random(hub)
        memcpy(connection.routing_id + 1, &number, sizeof(number))
        if names_find(&hub.routes, connection.routing_id, 5) == <uint32_t>NAME_NONE:
            return


# From now on its silence is judged, if there is a rhythm to judge it by.
cdef void beat_arm(Hub* hub, Connection* connection) noexcept nogil:
    if hub.timers[<int>beat_timer(connection)].delay_ms:
        hub_arm(hub, connection, beat_timer(connection))


# From now on it is boxes that come and go. False: no memory, and it is doomed.
cdef bint boxes_begin(Hub* hub, Connection* connection) noexcept nogil:
    if cipher_begin(connection.cipher, &connection.inbox, &hub.pool) != 0:
        hub_doom(hub, connection, REASON_NO_MEMORY, 0)
        return False
    if connection.cipher.opening.is_fresh:
        list_append(&hub.lists[<int>LIST_READ], connection, LIST_READ)
    return True


# The routing id is this connection's, or it needs none; messages may pass.
cdef Verdict peer_admit(Hub* hub, Connection* connection) noexcept nogil:
    if connection.side == SIDE_FRONTEND and not connection.is_managed:
        if names_add(&hub.routes, connection.routing_id, connection.routing_id_bytes, connection.slot) != 0:
            hub_doom(hub, connection, REASON_NO_MEMORY, 0)
            return PEER_IS_OVER
        connection.routing_frame_bytes = <uint32_t>short_frame_write(
            connection.routing_frame, FRAME_MORE, connection.routing_id, connection.routing_id_bytes
        )
    if (connection.cipher != NULL or not says_ready_first(hub, connection)) and not say_ready(hub, connection):
        return PEER_IS_OVER
    if connection.cipher != NULL and not connection.cipher.is_on and not boxes_begin(hub, connection):
        return PEER_IS_OVER
    hub_disarm(hub, connection, TIMER_HANDSHAKE)
    hub_disarm(hub, connection, TIMER_CHALLENGE)
    hub_enter(hub, connection, READY)
    if connection.can_ping or connection.is_managed:
        beat_arm(hub, connection)
    hub_tell(hub, EVENT_CONNECTED, connection, REASON_NONE, 0, 0)
    return PEER_IS_READY


# Somebody holds the newcomer's name: its socket is drained and it is asked for a sign of life at once.
cdef Verdict holder_challenge(Hub* hub, Connection* newcomer, Connection* holder) noexcept nogil:
    hub_enter(hub, newcomer, WAITING)
    hub_disarm(hub, newcomer, TIMER_HANDSHAKE)
    hub_arm(hub, newcomer, TIMER_CHALLENGE)
    list_append(&hub.lists[<int>LIST_READ], holder, LIST_READ)     # what it sent already is life, its end too
    if not holder.is_challenged and holder.can_ping:
        say_ping(hub, holder)
    holder.is_challenged = True
    return PEER_GOES_ON


# It has said who it is: who it may be. The rest is peer_settle's, once it is answered.
cdef Verdict ask(Hub* hub, Connection* connection) noexcept nogil:
    cdef Question question
    memset(&question, 0, sizeof(Question))
    question.tag = connection_tag(connection)
    question.side = connection.side
    question.endpoint = connection.endpoint
    question.has_key = connection.has_key
    question.uid = socket_uid(connection.fd)
    question.is_managed = connection.is_managed
    question.routing_id_bytes = connection.routing_id_bytes
    memcpy(question.key, connection.key, KEY_BYTES)
    memcpy(question.peer, connection.peer_text, sizeof(question.peer))
    memcpy(question.routing_id, connection.routing_id, connection.routing_id_bytes)
    if not mailbox_ask(&hub.mailbox, &question):
        peering_refuse(hub, connection, REASON_LIMIT)
        return PEER_IS_OVER
    hub_enter(hub, connection, ASKED)
    return PEER_GOES_ON


# By which routing id? A holder of it is challenged first.
cdef Verdict peer_settle(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint32_t holder
    if connection.is_managed or connection.side == SIDE_BACKEND:
        return peer_admit(hub, connection)      # nothing is routed by its routing id
    if connection.routing_id_bytes == 0:
        routing_id_generate(hub, connection)
        return peer_admit(hub, connection)
    holder = names_find(&hub.routes, connection.routing_id, connection.routing_id_bytes)
    if holder == <uint32_t>NAME_NONE:
        return peer_admit(hub, connection)
    return holder_challenge(hub, connection, hub.table[holder])


# Will it have to wait, unread, before it is ready?
cdef bint must_wait(const Hub* hub, const Connection* connection) noexcept nogil:
    if hub.settings.asks:
        return True
    if connection.is_managed or connection.side == SIDE_BACKEND or connection.routing_id_bytes == 0:
        return False
    return names_find(&hub.routes, connection.routing_id, connection.routing_id_bytes) != <uint32_t>NAME_NONE


# What it says of itself. `may_go_on`: what is behind it in the window can be kept.
cdef Verdict peer_introduce(Hub* hub, Connection* connection, const Ready* ready, bint may_go_on) noexcept nogil:
    connection.socket_type = ready.socket_type
    connection.is_managed = ready.is_managed
    if not socket_type_fits(connection, ready.socket_type):
        peering_reject(hub, connection, REASON_SOCKET_TYPE, 0)
        return PEER_IS_OVER
    connection.routing_id_bytes = ready.routing_id_bytes
    memcpy(connection.routing_id, ready.routing_id, ready.routing_id_bytes)
    if not connection.is_managed and connection.side == SIDE_FRONTEND:
        if connection.routing_id_bytes and connection.routing_id[0] == 0:
            peering_reject(hub, connection, REASON_ROUTING_ID, 0)
            return PEER_IS_OVER
    if not may_go_on and must_wait(hub, connection):
        peering_refuse(hub, connection, REASON_NAME_IN_USE)     # it speaks on without our READY: nowhere to keep that
        return PEER_IS_OVER
    return ask(hub, connection) if hub.settings.asks else peer_settle(hub, connection)


cdef Verdict peering_answer(Hub* hub, Connection* connection, const Answer* answer) noexcept nogil:
    connection.name_bytes = answer.name_bytes
    memcpy(connection.name, answer.name, answer.name_bytes)
    if answer.reason != REASON_NONE:
        peering_refuse(hub, connection, <Reason>answer.reason)
        return PEER_IS_OVER
    connection.permit = answer.permit
    return peer_settle(hub, connection)


cdef Verdict ready_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    cdef Ready ready
    if not ready_read(body, count, &ready):
        return PEER_IS_MALFORMED
    return peer_introduce(hub, connection, &ready, not inbox_has_more(&connection.inbox))


# ---- CURVE ----


# The peer has proved to have its key, and said what it is.
cdef Verdict curve_introduce(
    Hub* hub, Connection* connection, const uint8_t* properties, size_t count
) noexcept nogil:
    cdef Ready ready
    if not properties_read(properties, count, &ready):
        return PEER_IS_MALFORMED
    connection.has_key = True
    memcpy(connection.key, connection.cipher.curve.peer, KEY_BYTES)
    if not connection.cipher.is_server and not boxes_begin(hub, connection):
        return PEER_IS_OVER         # boxes may stand behind READY: they are kept
    return peer_introduce(hub, connection, &ready, True)


cdef Verdict curve_failed(Hub* hub, Connection* connection, CurveCode code) noexcept nogil:
    if code == CURVE_MALFORMED:
        return PEER_IS_MALFORMED
    peering_refuse(hub, connection, REASON_FORGED)
    return PEER_IS_OVER


# HELLO, or INITIATE. Nothing may stand behind either.
cdef Verdict curve_serve_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
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
        count = curve_welcome_write(cipher.sodium, &cipher.curve, frame)
        return PEER_GOES_ON if say_plainly(hub, connection, frame, count) else PEER_IS_OVER
    code = curve_initiate_read(
        cipher.sodium, &cipher.curve, body, count, opened, &properties, &properties_bytes
    )
    if code != CURVE_OK:
        return curve_failed(hub, connection, code)
    return curve_introduce(hub, connection, properties, properties_bytes)


# WELCOME, or READY, behind which boxes may stand.
cdef Verdict curve_dial_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
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
        return PEER_GOES_ON if count and say_plainly(hub, connection, frame, count) else PEER_IS_OVER
    code = curve_ready_read(cipher.sodium, &cipher.curve, body, count, opened, &properties, &properties_bytes)
    if code != CURVE_OK:
        return curve_failed(hub, connection, code)
    return curve_introduce(hub, connection, properties, properties_bytes)


cdef bint shares_name(const Connection* one, const Connection* other) noexcept nogil:
    return one.routing_id_bytes == other.routing_id_bytes and memcmp(
        one.routing_id, other.routing_id, one.routing_id_bytes
    ) == 0


# The newcomer that has waited longest for the holder's name, or NULL.
cdef Connection* newcomer_first(Hub* hub, const Connection* holder) noexcept nogil:
    cdef Timer* timer = hub.timers[<int>TIMER_CHALLENGE].first
    cdef Connection* newcomer
    while timer != NULL:
        newcomer = hub.table[timer.slot]
        if newcomer.state == WAITING and shares_name(newcomer, holder):
            return newcomer
        timer = timer.after
    return NULL


cdef Connection* peering_inherit(Hub* hub, const Connection* holder) noexcept nogil:
    cdef Connection* newcomer = newcomer_first(hub, holder)
    while newcomer != NULL:
        hub_disarm(hub, newcomer, TIMER_CHALLENGE)
        if peer_admit(hub, newcomer) == PEER_IS_READY:
            list_append(&hub.lists[<int>LIST_READ], newcomer, LIST_READ)
            peering_holder_lives(hub, newcomer)     # the others who waited find a holder that has just come
            return newcomer
        newcomer = newcomer_first(hub, holder)
    return NULL


cdef void peering_holder_lives(Hub* hub, Connection* holder) noexcept nogil:
    cdef Connection* newcomer
    holder.is_challenged = False
    if holder.is_managed:
        hub_disarm(hub, holder, TIMER_CHALLENGE)
        return
    newcomer = newcomer_first(hub, holder)
    while newcomer != NULL:
        peering_refuse(hub, newcomer, REASON_NAME_IN_USE)
        newcomer = newcomer_first(hub, holder)


# Its silence may have other causes than its end: it is busy, or we do not read it.
cdef bint may_be_silent(const Connection* connection) noexcept nogil:
    if connection.outbox.bytes != 0 or connection.unheard_messages > UNHEARD_MESSAGES_MAX:
        return True
    return connection_is_unread(connection)


cdef void peering_challenge(Hub* hub, Connection* holder) noexcept nogil:
    if holder.is_challenged or holder.state != READY:
        return
    holder.is_challenged = True
    hub_arm(hub, holder, TIMER_CHALLENGE)
    list_append(&hub.lists[<int>LIST_READ], holder, LIST_READ)     # what it sent already is life, its end too
    say_ping(hub, holder)


# Was it silent, or has it hung up?
cdef bint holder_is_dead(const Connection* holder) noexcept nogil:
    return holder.has_hangup or (holder.can_ping or holder.is_managed) and not may_be_silent(holder)


cdef void peering_challenge_over(Hub* hub, Connection* connection) noexcept nogil:
    cdef Connection* holder = connection
    if not connection.is_managed:       # it is a newcomer; when its holder goes, peering_inherit empties the queue
        holder = hub.table[names_find(&hub.routes, connection.routing_id, connection.routing_id_bytes)]
        # Still the first in line, until the holder is buried or the newcomer refused.
        timer_arm_first(&hub.timers[<int>TIMER_CHALLENGE], &connection.timers[<int>TIMER_CHALLENGE], hub.now_ms)
    if holder_is_dead(holder):
        counter_add(&hub.counters, CLOSED_FENCED, 1)
        hub_doom(hub, holder, REASON_FENCED, 0)
        return
    peering_holder_lives(hub, holder)


# We do not read it, so nothing is known of this time: it counts from when it is read again. A managed peer hears of us
# all the same: it judges us by its own beat, while its PINGs lie unread; and one that has died behind what we do not
# read answers with a reset.
cdef Verdict unread_beat(Hub* hub, Connection* connection) noexcept nogil:
    cdef bint is_told = True
    if connection.is_managed and connection.outbox.bytes == 0:
        is_told = say_ping(hub, connection)
    connection.heard_ms = hub.now_ms
    connection.pinged_ms = 0
    return PEER_GOES_ON if is_told else PEER_IS_OVER


cdef Verdict peering_heartbeat(Hub* hub, Connection* connection) noexcept nogil:
    cdef int64_t silence_ms = hub.now_ms - connection.heard_ms
    cdef int64_t beat_ms = hub.timers[<int>beat_timer(connection)].delay_ms
    beat_arm(hub, connection)
    if connection_is_unread(connection):
        return unread_beat(hub, connection)
    if silence_ms < beat_ms or may_be_silent(connection):
        return PEER_GOES_ON
    if connection.pinged_ms and silence_ms >= HEARTBEATS_MISSED_MAX * beat_ms:
        counter_add(&hub.counters, CLOSED_HEARTBEAT, 1)
        hub_doom(hub, connection, REASON_HEARTBEAT, 0)
        return PEER_IS_OVER
    connection.is_suspect = connection.is_managed and connection.pinged_ms != 0
    if not say_ping(hub, connection):
        return PEER_IS_OVER
    return PEER_IS_SUSPECT if connection.is_suspect else PEER_GOES_ON


cdef void peering_acknowledge(Hub* hub, Connection* connection) noexcept nogil:
    cdef Acknowledgement judged = tcp_judge(connection.fd, hub.now_ms, &connection.unacknowledged_ms)
    if judged == TCP_DEAD:
        counter_add(&hub.counters, CLOSED_UNACKNOWLEDGED, 1)
        hub_doom(hub, connection, REASON_UNACKNOWLEDGED, connection.outbox.bytes)
        return
    if intake_holds_up(hub, connection):
        counter_add(&hub.counters, CLOSED_STALLED, 1)
        hub_doom(hub, connection, REASON_STALLED, connection.outbox.bytes)
        return
    if judged == TCP_AWAITS or connection.outbox.bytes:
        hub_arm(hub, connection, TIMER_ACKNOWLEDGE)


cdef Verdict ping_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
    cdef size_t frame_bytes = pong_write(frame, body, count)
    if frame_bytes == 0:
        return PEER_IS_MALFORMED
    counter_add(&hub.counters, PINGS_IN, 1)
    connection.can_ping = True
    if connection.timers[<int>beat_timer(connection)].due_ms == 0:
        beat_arm(hub, connection)
    if connection.outbox.bytes and connection.outbox.bytes + frame_bytes > outbox_budget(hub):
        counter_add(&hub.counters, PONGS_DROPPED, 1)
        return PEER_GOES_ON
    return PEER_GOES_ON if say(hub, connection, frame, frame_bytes) else PEER_IS_OVER


cdef Verdict handshake_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    if connection.cipher == NULL:
        return ready_take(hub, connection, body, count)
    hub.handshakes_left -= 1 if hub.handshakes_left else 0
    if connection.cipher.is_server:
        return curve_serve_take(hub, connection, body, count)
    return curve_dial_take(hub, connection, body, count)


cdef Verdict peering_command(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    if count == 0 or body[0] == 0 or <size_t>body[0] + 1 > count:
        return PEER_IS_MALFORMED
    if command_is(body, count, b"ERROR", 5):
        counter_add(&hub.counters, CLOSED_PEER_ERROR, 1)
        hub_doom(hub, connection, REASON_PEER_ERROR, 0)
        return PEER_IS_OVER
    if connection.state == HANDSHAKE:
        return handshake_take(hub, connection, body, count)
    if command_is(body, count, b"PING", 4):
        return ping_take(hub, connection, body, count)
    if command_is(body, count, b"PONG", 4):
        counter_add(&hub.counters, PONGS_IN, 1)
    return PEER_GOES_ON         # SUBSCRIBE and the like mean nothing here; RFC 37 lets unknown commands pass
