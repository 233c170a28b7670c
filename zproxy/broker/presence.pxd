"""Presence: who is there: WELCOME, HELLO, READY, CREDIT, GOODBYE, and the end of a connection.

Names are settled here. A newcomer of a taken name is refused, unless it is the holder come back (the same incarnation):
then the elder connection is replaced. A node that came back keeps its requests; a worker's leases end with the elder.
"""

from libc.stdint cimport uint8_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Role, Verdict
from zproxy.envelope cimport EnvelopeView

# HELLO of a node, READY of a worker whose services are `content`.
cdef void presence_hello(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil
cdef void presence_ready(
    Broker* broker, Peer* worker, EnvelopeView* envelope, const uint8_t* content, size_t content_bytes, Verdict* verdict
) noexcept nogil

cdef void presence_credit(Broker* broker, Peer* worker, const EnvelopeView* envelope) noexcept nogil

# GOODBYE is said to a node at once, to a worker when it holds nothing more.
cdef void presence_goodbye(Broker* broker, Peer* peer, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# Its connection is gone, or replaced. What follows from it are errands.
cdef void presence_end(Broker* broker, Peer* peer) noexcept nogil

# GOODBYE to all of a role that are known, and do not leave anyway.
cdef void presence_dismiss(Broker* broker, Role role) noexcept nogil
