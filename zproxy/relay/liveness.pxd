"""Liveness: who still lives: PING and PONG, beats that were missed, what TCP was never told of.

Called by the turn when a timer of it is due, and by those who hear or want a sign of life.
"""

from libc.stdint cimport uint8_t

from zproxy.relay.connection cimport Connection
from zproxy.relay.hub cimport Hub
from zproxy.relay.refusal cimport Verdict

cdef enum:
    UNHEARD_MESSAGES_MAX = 500  # sent since its last byte: a libzmq worker at its high-water mark answers no PING
    HEARTBEATS_MISSED_MAX = 3
    BEAT_MS = 2000              # of managed peers, always

# From now on its silence is judged, if there is a rhythm to judge it by.
cdef void liveness_begin(Hub* hub, Connection* connection) noexcept nogil

# Its timer of life is due: PING, wait on, or doom. True: it is managed, and a beat was missed: no new work until it is
# heard.
cdef bint liveness_due(Hub* hub, Connection* connection) noexcept nogil

# TIMER_ACKNOWLEDGE is due: settled, waited on, or doom.
cdef void liveness_acknowledge(Hub* hub, Connection* connection) noexcept nogil

# It is asked for a sign of life. False: no memory, and it is doomed.
cdef bint liveness_ask(Hub* hub, Connection* connection) noexcept nogil

# Its PING came.
cdef Verdict liveness_answer(Hub* hub, Connection* connection, const uint8_t* body, size_t count) noexcept nogil

# Its silence may have other causes than its end: it is busy, or we do not read it.
cdef bint may_be_silent(const Connection* connection) noexcept nogil
