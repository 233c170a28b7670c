"""Outcome: what workers say about their leases: REPLY, ERROR, PROGRESS; and outcomes that did not reach their node.

Rule. A lease counts on the connection, and in the conversation, it was given in, with the incarnation and sequence it
was given for; everything else is late: dropped and counted, whatever it says.
"""

from libc.stdint cimport uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView

# REPLY or ERROR: the place is free again; passed to the node where the lease is live, and the request does not go on.
# One whose node is absent is kept for it, where there is room.
cdef void outcome_take(
    Broker* broker, Peer* worker, EnvelopeView* envelope, uint64_t message_bytes, Verdict* verdict
) noexcept nogil

# PROGRESS: the lease begins anew; passed where the node wants it.
cdef void outcome_progress(Broker* broker, Peer* worker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# What was passed right before found no room at its node.
cdef void outcome_undelivered(Broker* broker, EnvelopeView* envelope, Verdict* verdict) noexcept nogil
