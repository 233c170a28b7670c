"""Peering: the commands of one peer, each to the room that it is for; see peering.pxd for the contract."""

from libc.stdint cimport uint8_t

from zproxy.counters cimport CLOSED_PEER_ERROR, PONGS_IN, counter_add
from zproxy.relay.admission cimport admission_begin
from zproxy.relay.connection cimport HANDSHAKE, REASON_PEER_ERROR, Connection
from zproxy.relay.handshake cimport Ready
from zproxy.relay.hub cimport Hub, hub_doom
from zproxy.relay.introduction cimport introduction_command
from zproxy.relay.liveness cimport liveness_answer
from zproxy.relay.refusal cimport PEER_GOES_ON, PEER_IS_INTRODUCED, PEER_IS_MALFORMED, PEER_IS_OVER, Verdict
from zproxy.relay.zmtp cimport command_is


cdef Verdict handshake_take(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil:
    cdef Ready ready
    cdef Verdict verdict = introduction_command(hub, connection, body, count, &ready)
    return admission_begin(hub, connection, &ready) if verdict == PEER_IS_INTRODUCED else verdict


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
        return liveness_answer(hub, connection, body, count)
    if command_is(body, count, b"PONG", 4):
        counter_add(&hub.counters, PONGS_IN, 1)
    return PEER_GOES_ON         # SUBSCRIBE and the like mean nothing here; RFC 37 lets unknown commands pass
