"""Homes: requests that wait for one worker move when workers come and go (policy `hash`).

A request with a key waits in the lanes of its home (waiting_push finds it), or in its service's while nobody offers
that. So a worker that is busy keeps nobody waiting but its own, and whoever becomes able finds its next request without
a look at those of others. The price is paid when a worker comes or goes:

    goes    each request that waited for it looks at every candidate of its service
    comes   each request that waits for another of the service compares two scores
    first   of its service: each request of the service, and each that waits for somebody who offers `*`, looks at every
            candidate

Rule. What has moved stays in order within its node, priority and key.
"""

from zproxy.broker.peer cimport Peer
from zproxy.broker.state cimport Broker

# Workers have come or gone: whoever waits for the wrong one moves, and who has become its home stands in `able`. What
# cannot move for want of memory stays where it is until workers come or go again, or its time is over.
cdef void homes_settle(Broker* broker) noexcept nogil

# The worker is no home any more, though it stays: what waits for it moves. / It is one again.
cdef void homes_of_close(Broker* broker, const Peer* worker) noexcept nogil
cdef void homes_of_open(Broker* broker, const Peer* worker) noexcept nogil
