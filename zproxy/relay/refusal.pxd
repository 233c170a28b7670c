"""Refusal: how a peer that may not stay is let go.

Called by whoever finds out why. What a step of the conversation came to is a verdict, and the turn acts on it.

    A refusal that an operator can undo (limits, a name in use, a key) is silent: a libzmq peer tries again.
    One that cannot become right on this connection gets ERROR: a libzmq peer stays away.
"""

from libc.stdint cimport uint64_t

from zproxy.relay.connection cimport Connection, Reason
from zproxy.relay.hub cimport Hub

cdef enum Verdict:
    PEER_GOES_ON                # nothing for the turn to do
    PEER_IS_INTRODUCED          # it has said what it is; whether it may come in is admission's
    PEER_IS_READY               # the handshake is done: it may be given work
    PEER_IS_MALFORMED           # it must be rejected; the turn first takes its work back
    PEER_IS_OVER                # refused, rejected or doomed: its bytes are of no more use

# Silent refusal: unread, closed after a while.
cdef Verdict peer_refuse(Hub* hub, Connection* connection, Reason reason) noexcept nogil

# ERROR, then close. `size`: bytes involved, for the log.
cdef Verdict peer_reject(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil

# Closed without a word: it would not understand one, or its stream is cut off inside a message.
cdef Verdict peer_abandon(Hub* hub, Connection* connection, Reason reason, uint64_t size) noexcept nogil

# TIMER_REFUSED is due.
cdef void peer_refused_over(Hub* hub, Connection* connection) noexcept nogil
