"""Presence: who is there: WELCOME, HELLO, READY, CREDIT, GOODBYE, and the end of a connection.

Names are settled here. A newcomer of a taken name is refused, unless it is the holder come back (the same incarnation):
then the elder connection is replaced. A node that came back keeps its requests; a worker's leases end with the elder.
With the refusal the holder is asked for a sign of life: should it be dead, the newcomer's next try finds its name free.
An incarnation whose name a successor has got stays out for good (FENCED): it may be a program that was frozen.

A node whose connection ends without GOODBYE is absent: its requests go on, and their outcomes are kept for it. After
`absence_ms` those without an outcome are cancelled, and run anew should it send them again; after the window of
de-duplication, or when a successor takes its name, it is forgotten.
"""

from libc.stdint cimport int64_t, uint8_t

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

# The worker of that name takes no more in this conversation, and is told GOODBYE. No-op where there is none.
cdef void presence_retire(Broker* broker, const uint8_t* name, uint8_t name_bytes) noexcept nogil

# The rules have changed: what workers offer and may not serve any more is withdrawn from them.
cdef void presence_review(Broker* broker) noexcept nogil

# Its connection is gone, or replaced. What follows from it are errands.
cdef void presence_end(Broker* broker, Peer* peer) noexcept nogil

# Who has been away for too long? Cancels, and forgets. / When there is somebody; INT64_MAX: nobody is away.
cdef void presence_expire(Broker* broker) noexcept nogil
cdef int64_t presence_due_ms(const Broker* broker) noexcept nogil

# GOODBYE to all of a role that are known, and do not leave anyway.
cdef void presence_dismiss(Broker* broker, Role role) noexcept nogil
