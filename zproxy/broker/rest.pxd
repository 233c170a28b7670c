"""Rest: a worker that fails again and again is given nothing for a while.

A failure is a connection that ended with requests on it, or a lease that ended without a sign; never a handler's error.
What one standstill ends is one failure.
An answer in time wipes the slate clean. Failures stay with the name (former.pxd): a program that dies and is started
again has failed as often as before.

Rule. It never rests while it is the last of one of its services that does not: bad work is better than none.
"""

from libc.stdint cimport int64_t

from zproxy.broker.peer cimport Peer
from zproxy.broker.state cimport Broker

cdef enum:
    FAILURES_MAX = 5            # in a row
    REST_MS = 30000             # times how often it has rested in a row, this time included

# One failure more, of a worker that is there or about to go. `since_ms`: since when it had what came to nothing; what
# it had before its last failure came to nothing by the same one.
cdef void rest_fail(Broker* broker, Peer* worker, int64_t since_ms) noexcept nogil

# It has come, and inherits failures. Does it rest at once?
cdef void rest_consider(Broker* broker, Peer* worker) noexcept nogil

# Workers have come or gone: whoever has become the last of a service works again.
cdef void rest_settle(Broker* broker) noexcept nogil

# It goes.
cdef void rest_leave(Broker* broker, Peer* worker) noexcept nogil

# Who has rested long enough? / When somebody has; INT64_MAX: nobody rests.
cdef void rest_expire(Broker* broker) noexcept nogil
cdef int64_t rest_due_ms(const Broker* broker) noexcept nogil


# It has answered in time.
cdef inline void rest_forgive(Peer* worker) noexcept nogil:
    worker.failures = worker.rests = 0
