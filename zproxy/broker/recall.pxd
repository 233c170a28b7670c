"""Recall: outcomes remembered, and given again to a node that sends a finished request again.

    settled ─► recall_outcome │ recall_code ─► its node's ring, and a number under which the caller keeps it
    sent again, RESENT ─► recall_answer ─► the outcome; its code; ALREADY_DONE; OUTCOME_UNKNOWN

Called by whoever settles a request or takes one in. What is remembered, and for how long: ring.pxd.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.request cimport Request
from zproxy.broker.state cimport Broker
from zproxy.broker.verdict cimport Verdict
from zproxy.envelope cimport EnvelopeView

# The message in hand, of `message_bytes`, is the outcome; all of it, if `is_whole`. Is it to be kept? Then the
# verdict's payload says under which number.
cdef bint recall_outcome(
    Broker* broker, const Request* request, uint64_t message_bytes, bint is_whole, Verdict* verdict
) noexcept nogil

# An ERROR of zproxy's own is; of a post nothing is remembered, it is never sent again.
cdef void recall_code(Broker* broker, const Request* request, uint16_t code, Verdict* verdict) noexcept nogil

# There was no memory to keep what was remembered last. / It did not reach its node and is not kept: as if it had never
# been.
cdef void recall_unkept(Broker* broker) noexcept nogil
cdef void recall_undo(Broker* broker) noexcept nogil

# What is said to a request that was sent before, if it has ended, or may have; False: nothing is known of it.
cdef bint recall_answer(Broker* broker, Peer* node, EnvelopeView* envelope, Verdict* verdict) noexcept nogil

# All that is remembered of a node is to be forgotten; it is not before that is done.
cdef void recall_discard(Broker* broker, Peer* node) noexcept nogil

# Forgets one outcome of who stands in `broker.forgetful`. Is there a payload to drop?
cdef bint recall_forget(Broker* broker, Verdict* verdict) noexcept nogil
