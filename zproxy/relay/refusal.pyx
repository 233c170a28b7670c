"""Refusal: how a peer that may not stay is let go; see refusal.pxd for the contract."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from zproxy.counters cimport (
    CLOSED_FORGED, CLOSED_MALFORMED, CLOSED_TOO_LARGE, REFUSED_FORGED, REFUSED_LIMIT, REFUSED_MALFORMED,
    REFUSED_MECHANISM, REFUSED_NAME_IN_USE, REFUSED_ROUTING_ID, REFUSED_SOCKET_TYPE, REFUSED_UNKNOWN_KEY,
    REFUSED_VERSION, counter_add
)
from zproxy.relay.connection cimport (
    LIST_READ, READY, REASON_DENIED, REASON_EXPIRED, REASON_FORGED, REASON_LIMIT, REASON_MALFORMED, REASON_MECHANISM,
    REASON_NONE, REASON_ROUTING_ID, REASON_SOCKET_TYPE, REASON_TOO_LARGE, REASON_UNKNOWN_KEY, REASON_VERSION,
    REASON_WRONG_ROLE, REASON_WRONG_USER, REFUSED, REJECTED, TIMER_CHALLENGE, TIMER_HANDSHAKE, TIMER_REFUSED,
    TIMER_RATE, TIMER_STALL, Connection, Reason, beat_timer, list_remove
)
from zproxy.relay.delivery cimport say_as_it_is
from zproxy.relay.handshake cimport HANDSHAKE_REPLY_MAX, error_write
from zproxy.relay.hub cimport (
    REFUSED_HELD_MAX, REFUSED_STEPS_MIN, Hub, hub_arm, hub_disarm, hub_doom, hub_enter, hub_random, hub_refused,
    hub_tell
)
from zproxy.relay.mailbox cimport EVENT_REFUSED


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
    cdef uint64_t limit = connection.inbox.max_message_bytes if reason == REASON_TOO_LARGE else 0
    counter_add(&hub.counters, refusal_counter(reason, connection.state == READY), 1)
    connection.reason = reason
    connection.reason_size = size
    hub_tell(hub, EVENT_REFUSED, connection, reason, size, limit)
    hub_disarm(hub, connection, TIMER_HANDSHAKE)
    hub_disarm(hub, connection, TIMER_CHALLENGE)
    hub_disarm(hub, connection, beat_timer(connection))
    hub_disarm(hub, connection, TIMER_STALL)
    hub_disarm(hub, connection, TIMER_RATE)
    list_remove(&hub.lists[<int>LIST_READ], connection, LIST_READ)


cdef Verdict peer_refuse(Hub* hub, Connection* connection, Reason reason) noexcept nogil:
    cdef Connection* oldest
    refusal_begin(hub, connection, reason, 0)
    hub_enter(hub, connection, REFUSED)
    connection.refused_steps = REFUSED_STEPS_MIN + <uint32_t>(hub_random(hub) & 3)
    hub_arm(hub, connection, TIMER_REFUSED)
    if hub_refused(hub) > REFUSED_HELD_MAX:
        oldest = hub.table[hub.timers[<int>TIMER_REFUSED].first.slot]
        hub_disarm(hub, oldest, TIMER_REFUSED)      # the next one refused in this turn ends another
        hub_doom(hub, oldest, REASON_NONE, 0)
    return PEER_IS_OVER


cdef Verdict peer_abandon(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
    refusal_begin(hub, connection, reason, size)
    hub_doom(hub, connection, reason, size)
    return PEER_IS_OVER


cdef Verdict peer_reject(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil:
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
    if say_as_it_is(hub, connection, frame, count):
        hub_enter(hub, connection, REJECTED)
        connection.refused_steps = REFUSED_STEPS_MIN
        hub_arm(hub, connection, TIMER_REFUSED)
    return PEER_IS_OVER


cdef void peer_refused_over(Hub* hub, Connection* connection) noexcept nogil:
    connection.refused_steps -= 1
    if connection.refused_steps == 0:
        hub_doom(hub, connection, connection.reason, 0)
        return
    hub_arm(hub, connection, TIMER_REFUSED)
