"""Counters: the one list of what the relay counts. The enums are the names everywhere: storage, stats(), docs.

Written by the relay thread alone; read from a snapshot copied between two events. Help texts: counters.pyx.
"""

from libc.stdint cimport uint64_t

cpdef enum Counter:
    REQUESTS_IN
    REQUESTS_IN_BYTES
    REQUESTS_OUT
    REQUESTS_OUT_BYTES
    REPLIES_IN
    REPLIES_IN_BYTES
    REPLIES_OUT
    REPLIES_OUT_BYTES
    DROPPED_CLIENT_GONE
    DROPPED_SLOW_READER
    DROPPED_UNROUTABLE
    DROPPED_NO_MEMORY
    REQUESTS_NO_MEMORY
    REQUESTS_LOST
    REPLIES_LOST
    REQUESTS_REROUTED
    REQUESTS_UNDELIVERED
    TRUNCATED_MESSAGES
    CONNECTIONS_ACCEPTED
    CONNECTIONS_CONNECTED
    CONNECTIONS_CLOSED
    CONNECT_FAILURES
    ACCEPT_FAILURES
    REFUSED_SOCKET_TYPE
    REFUSED_MECHANISM
    REFUSED_VERSION
    REFUSED_MALFORMED
    REFUSED_HANDSHAKE_TIMEOUT
    REFUSED_NAME_IN_USE
    REFUSED_ROUTING_ID
    REFUSED_LIMIT
    CLOSED_TOO_LARGE
    CLOSED_MALFORMED
    CLOSED_STALLED
    CLOSED_HEARTBEAT
    CLOSED_UNACKNOWLEDGED
    CLOSED_FENCED
    CLOSED_PEER_ERROR
    CLOSED_NO_MEMORY
    PINGS_IN
    PINGS_OUT
    PONGS_IN
    PONGS_DROPPED
    TURNS
    WAKEUPS
    SPINS
    EVENTS_LOST
    COUNTER_COUNT

cpdef enum Gauge:
    FRONTEND_CONNECTIONS
    BACKEND_CONNECTIONS
    HANDSHAKING
    WAITING_REQUESTS
    WAITING_BYTES
    MEMORY_BYTES
    POOLED_BYTES
    PAUSED_CONNECTIONS
    GAUGE_COUNT

cdef struct Counters:
    uint64_t[COUNTER_COUNT] values


cdef inline void counter_add(Counters* counters, int counter, uint64_t count) noexcept nogil:
    counters.values[counter] += count
