"""Admission: whether a peer may come in, and who has a name that two want; see admission.pxd for the contract."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy, memset

from zproxy.counters cimport CLOSED_FENCED, counter_add
from zproxy.names cimport NAME_NONE, names_add, names_find
from zproxy.relay.connection cimport (
    ASKED, LIST_READ, READY, REASON_FENCED, REASON_LIMIT, REASON_NAME_IN_USE, REASON_NONE, REASON_NO_MEMORY,
    REASON_ROUTING_ID, REASON_SOCKET_TYPE, SIDE_BACKEND, SIDE_FRONTEND, TIMER_CHALLENGE, TIMER_HANDSHAKE, WAITING,
    Connection, Reason, list_append
)
from zproxy.relay.handshake cimport SOCKET_DEALER, SOCKET_REP, SOCKET_REQ, SOCKET_ROUTER, Ready, SocketType
from zproxy.relay.hub cimport (
    Hub, connection_tag, hub_arm, hub_disarm, hub_doom, hub_enter, hub_random, hub_tell
)
from zproxy.relay.inbox cimport inbox_has_more
from zproxy.relay.introduction cimport introduction_end
from zproxy.relay.liveness cimport liveness_ask, liveness_begin, may_be_silent
from zproxy.relay.mailbox cimport EVENT_CONNECTED, Answer, Question, mailbox_ask
from zproxy.relay.refusal cimport PEER_GOES_ON, PEER_IS_OVER, PEER_IS_READY, Verdict, peer_refuse, peer_reject
from zproxy.relay.sodium cimport KEY_BYTES
from zproxy.relay.tcp cimport socket_uid
from zproxy.relay.timer cimport Timer, timer_arm_first
from zproxy.relay.zmtp cimport FRAME_MORE, short_frame_write


# ---- may it come in? ----


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


# The routing id is this connection's, or it needs none; messages may pass.
cdef Verdict peer_admit(Hub* hub, Connection* connection) noexcept nogil:
    if connection.side == SIDE_FRONTEND and not connection.is_managed:
        if names_add(&hub.routes, connection.routing_id, connection.routing_id_bytes, connection.slot) != 0:
            hub_doom(hub, connection, REASON_NO_MEMORY, 0)
            return PEER_IS_OVER
        connection.routing_frame_bytes = <uint32_t>short_frame_write(
            connection.routing_frame, FRAME_MORE, connection.routing_id, connection.routing_id_bytes
        )
    if not introduction_end(hub, connection):
        return PEER_IS_OVER
    hub_disarm(hub, connection, TIMER_HANDSHAKE)
    hub_disarm(hub, connection, TIMER_CHALLENGE)
    hub_enter(hub, connection, READY)
    if connection.can_ping or connection.is_managed:
        liveness_begin(hub, connection)
    hub_tell(hub, EVENT_CONNECTED, connection, REASON_NONE, 0, 0)
    return PEER_IS_READY


# Somebody holds the newcomer's name: its socket is drained and it is asked for a sign of life at once.
cdef Verdict peer_wait(Hub* hub, Connection* newcomer, Connection* holder) noexcept nogil:
    hub_enter(hub, newcomer, WAITING)
    hub_disarm(hub, newcomer, TIMER_HANDSHAKE)
    hub_arm(hub, newcomer, TIMER_CHALLENGE)
    list_append(&hub.lists[<int>LIST_READ], holder, LIST_READ)     # what it sent already is life, its end too
    if not holder.is_challenged and holder.can_ping:
        liveness_ask(hub, holder)
    holder.is_challenged = True
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
    return peer_wait(hub, connection, hub.table[holder])


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
        return peer_refuse(hub, connection, REASON_LIMIT)
    hub_enter(hub, connection, ASKED)
    return PEER_GOES_ON


# Will it have to wait, unread, before it is ready?
cdef bint must_wait(const Hub* hub, const Connection* connection) noexcept nogil:
    if hub.settings.asks:
        return True
    if connection.is_managed or connection.side == SIDE_BACKEND or connection.routing_id_bytes == 0:
        return False
    return names_find(&hub.routes, connection.routing_id, connection.routing_id_bytes) != <uint32_t>NAME_NONE


# Does it say more without our READY? There is nowhere to keep that, but for boxes.
cdef bint speaks_on(const Connection* connection) noexcept nogil:
    return connection.cipher == NULL and inbox_has_more(&connection.inbox)


cdef Verdict admission_begin(Hub* hub, Connection* connection, const Ready* ready) noexcept nogil:
    connection.socket_type = ready.socket_type
    connection.is_managed = ready.is_managed
    if not socket_type_fits(connection, ready.socket_type):
        return peer_reject(hub, connection, REASON_SOCKET_TYPE, 0)
    connection.routing_id_bytes = ready.routing_id_bytes
    memcpy(connection.routing_id, ready.routing_id, ready.routing_id_bytes)
    if not connection.is_managed and connection.side == SIDE_FRONTEND:
        if connection.routing_id_bytes and connection.routing_id[0] == 0:
            return peer_reject(hub, connection, REASON_ROUTING_ID, 0)
    if must_wait(hub, connection) and speaks_on(connection):
        return peer_refuse(hub, connection, REASON_NAME_IN_USE)
    return ask(hub, connection) if hub.settings.asks else peer_settle(hub, connection)


cdef Verdict admission_answer(Hub* hub, Connection* connection, const Answer* answer) noexcept nogil:
    connection.name_bytes = answer.name_bytes
    memcpy(connection.name, answer.name, answer.name_bytes)
    if answer.reason != REASON_NONE:
        return peer_refuse(hub, connection, <Reason>answer.reason)
    connection.permit = answer.permit
    return peer_settle(hub, connection)


# ---- who has the name? ----


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


cdef Connection* admission_inherit(Hub* hub, const Connection* holder) noexcept nogil:
    cdef Connection* newcomer = newcomer_first(hub, holder)
    while newcomer != NULL:
        hub_disarm(hub, newcomer, TIMER_CHALLENGE)
        if peer_admit(hub, newcomer) == PEER_IS_READY:
            list_append(&hub.lists[<int>LIST_READ], newcomer, LIST_READ)
            holder_lives(hub, newcomer)     # the others who waited find a holder that has just come
            return newcomer
        newcomer = newcomer_first(hub, holder)
    return NULL


cdef void holder_lives(Hub* hub, Connection* holder) noexcept nogil:
    cdef Connection* newcomer
    holder.is_challenged = False
    if holder.is_managed:
        hub_disarm(hub, holder, TIMER_CHALLENGE)
        return
    newcomer = newcomer_first(hub, holder)
    while newcomer != NULL:
        peer_refuse(hub, newcomer, REASON_NAME_IN_USE)
        newcomer = newcomer_first(hub, holder)


# Was it silent, or has it hung up?
cdef bint holder_is_dead(const Connection* holder) noexcept nogil:
    return holder.has_hangup or (holder.can_ping or holder.is_managed) and not may_be_silent(holder)


cdef void holder_challenge(Hub* hub, Connection* holder) noexcept nogil:
    if holder.is_challenged or holder.state != READY:
        return
    holder.is_challenged = True
    hub_arm(hub, holder, TIMER_CHALLENGE)
    list_append(&hub.lists[<int>LIST_READ], holder, LIST_READ)     # what it sent already is life, its end too
    liveness_ask(hub, holder)


cdef void holder_challenge_over(Hub* hub, Connection* connection) noexcept nogil:
    cdef Connection* holder = connection
    if not connection.is_managed:       # it is a newcomer; when its holder goes, admission_inherit empties the queue
        holder = hub.table[names_find(&hub.routes, connection.routing_id, connection.routing_id_bytes)]
        # Still the first in line, until the holder is buried or the newcomer refused.
        timer_arm_first(&hub.timers[<int>TIMER_CHALLENGE], &connection.timers[<int>TIMER_CHALLENGE], hub.now_ms)
    if holder_is_dead(holder):
        counter_add(&hub.counters, CLOSED_FENCED, 1)
        hub_doom(hub, holder, REASON_FENCED, 0)
        return
    holder_lives(hub, holder)
