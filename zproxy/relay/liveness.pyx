"""Liveness: who still lives; see liveness.pxd for the contract."""

from libc.stdint cimport int64_t, uint8_t

from zproxy.counters cimport (
    CLOSED_HEARTBEAT, CLOSED_STALLED, CLOSED_UNACKNOWLEDGED, PINGS_IN, PINGS_OUT, PONGS_DROPPED, counter_add
)
from zproxy.relay.connection cimport (
    REASON_HEARTBEAT, REASON_STALLED, REASON_UNACKNOWLEDGED, TIMER_ACKNOWLEDGE, Connection, beat_timer,
    connection_is_unread
)
from zproxy.relay.delivery cimport say
from zproxy.relay.handshake cimport HANDSHAKE_REPLY_MAX, ping_write, pong_write
from zproxy.relay.hub cimport Hub, hub_arm, hub_doom
from zproxy.relay.intake cimport intake_holds_up, outbox_budget
from zproxy.relay.refusal cimport PEER_GOES_ON, PEER_IS_MALFORMED, PEER_IS_OVER, Verdict
from zproxy.relay.tcp cimport TCP_AWAITS, TCP_DEAD, Acknowledgement, tcp_judge


cdef void liveness_begin(Hub* hub, Connection* connection) noexcept nogil:
    if hub.timers[<int>beat_timer(connection)].delay_ms:
        hub_arm(hub, connection, beat_timer(connection))


cdef bint liveness_ask(Hub* hub, Connection* connection) noexcept nogil:
    cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
    connection.pings_unheard += 1
    counter_add(&hub.counters, PINGS_OUT, 1)
    return say(hub, connection, frame, ping_write(frame))


cdef bint may_be_silent(const Connection* connection) noexcept nogil:
    if connection.outbox.bytes != 0 or connection.unheard_messages > UNHEARD_MESSAGES_MAX:
        return True
    return connection_is_unread(connection)


# We do not read it, so nothing is known of this time: it counts from when it is read again. A managed peer hears of us
# all the same: it judges us by its own beat, while its PINGs lie unread; and one that has died behind what we do not
# read answers with a reset.
cdef void unread_beat(Hub* hub, Connection* connection) noexcept nogil:
    connection.heard_ms = hub.now_ms
    if connection.is_managed and connection.outbox.bytes == 0:
        liveness_ask(hub, connection)
    connection.pings_unheard = 0


cdef bint liveness_due(Hub* hub, Connection* connection) noexcept nogil:
    cdef int64_t silence_ms = hub.now_ms - connection.heard_ms
    cdef int64_t beat_ms = hub.timers[<int>beat_timer(connection)].delay_ms
    liveness_begin(hub, connection)
    if connection_is_unread(connection):
        unread_beat(hub, connection)
        return False
    if silence_ms < beat_ms or may_be_silent(connection):
        return False
    # Two PINGs, too: when its last byte came a moment after a beat, three beats after it may have seen only one.
    if connection.pings_unheard >= HEARTBEATS_MISSED_MAX - 1 and silence_ms >= HEARTBEATS_MISSED_MAX * beat_ms:
        counter_add(&hub.counters, CLOSED_HEARTBEAT, 1)
        hub_doom(hub, connection, REASON_HEARTBEAT, 0)
        return False
    connection.is_suspect = connection.is_managed and connection.pings_unheard != 0
    return liveness_ask(hub, connection) and connection.is_suspect


cdef void liveness_acknowledge(Hub* hub, Connection* connection) noexcept nogil:
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


cdef Verdict liveness_answer(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    cdef uint8_t[HANDSHAKE_REPLY_MAX] frame
    cdef size_t frame_bytes = pong_write(frame, body, count)
    if frame_bytes == 0:
        return PEER_IS_MALFORMED
    counter_add(&hub.counters, PINGS_IN, 1)
    connection.can_ping = True
    if connection.timers[<int>beat_timer(connection)].due_ms == 0:
        liveness_begin(hub, connection)
    if connection.outbox.bytes and connection.outbox.bytes + frame_bytes > outbox_budget(hub):
        counter_add(&hub.counters, PONGS_DROPPED, 1)
        return PEER_GOES_ON
    return PEER_GOES_ON if say(hub, connection, frame, frame_bytes) else PEER_IS_OVER
