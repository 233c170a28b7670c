"""Peering: the commands of one peer, each to the room that it is for.

Called by the turn with what the inbox found. Answers with a verdict; the turn acts on it.

    greeting, READY, CURVE's steps ─► introduction ─► admission ─► READY
    PING, PONG                     ─► liveness
    ERROR                          ─► the peer's end
"""

from libc.stdint cimport uint8_t

from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub
from zproxy.relay.refusal cimport Verdict

# A command came, in whatever state.
cdef Verdict peering_command(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil
