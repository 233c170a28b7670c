"""Introduction: what both sides say until it is known what the peer is: greetings, then READY, or CURVE's steps.

Called by the turn with what the inbox found, and by admission for our last word. Judges bytes and proofs, not peers.

    our greeting ─► theirs ─► READY of NULL                                        ─► what it says of itself
                          └─► HELLO ─► WELCOME ─► INITIATE ─► READY, of either side ┘
"""

from libc.stdint cimport uint8_t

from zproxy.relay.connection cimport Connection
from zproxy.relay.handshake cimport Ready
from zproxy.relay.hub cimport Hub
from zproxy.relay.refusal cimport Verdict

cdef enum:
    HANDSHAKES_TURN = 16        # CURVE's steps in one turn, some 0.1 ms each: a crowd that comes delays nobody for long

# The stream is there: our whole greeting goes out.
cdef void introduction_begin(Hub* hub, Connection* connection) noexcept nogil

# GREETING: judges what is in the inbox's window. Answers our READY, for a frontend only when theirs is there and
# its routing id settled: no message can come before.
cdef Verdict introduction_greeting(Hub* hub, Connection* connection) noexcept nogil

# HANDSHAKE: a command came. With PEER_IS_INTRODUCED, `ready` is what the peer says of itself.
cdef Verdict introduction_command(
    Hub* hub, Connection* connection, const uint8_t* body, size_t count, Ready* ready
) noexcept nogil

# It may come in: our last word, and boxes from now on, where it speaks CURVE. False: no memory, and it is doomed.
cdef bint introduction_end(Hub* hub, Connection* connection) noexcept nogil
