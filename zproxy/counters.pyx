"""Counters: names and help texts of what the relay counts; see counters.pxd."""

COUNTER_HELP = {
    Counter.REQUESTS_IN: "whole messages read from frontends",
    Counter.REQUESTS_IN_BYTES: "their bytes on the wire",
    Counter.REQUESTS_OUT: "messages handed to a worker's outbox",
    Counter.REQUESTS_OUT_BYTES: "their bytes on the wire, routing id included",
    Counter.REPLIES_IN: "whole messages read from backends",
    Counter.REPLIES_IN_BYTES: "their bytes on the wire, routing id included",
    Counter.REPLIES_OUT: "messages handed to a client's outbox",
    Counter.REPLIES_OUT_BYTES: "their bytes on the wire",
    Counter.DROPPED_CLIENT_GONE: "replies whose client is not connected",
    Counter.DROPPED_SLOW_READER: "replies whose client had its outbox over budget",
    Counter.DROPPED_UNROUTABLE: "replies that do not begin with a routing id and another frame",
    Counter.DROPPED_NO_MEMORY: "replies the system had no memory for",
    Counter.REQUESTS_NO_MEMORY: "requests the system had no memory for",
    Counter.REQUESTS_LOST: "requests in the outbox of a worker that closed, partly written",
    Counter.REPLIES_LOST: "replies in the outbox of a client that closed, not wholly written",
    Counter.REQUESTS_REROUTED: "requests taken back unwritten from a worker that closed",
    Counter.REQUESTS_UNDELIVERED: "requests nobody had taken when the relay ended",
    Counter.TRUNCATED_MESSAGES: "messages cut off by the end of their connection; nothing of them was relayed",
    Counter.CONNECTIONS_ACCEPTED: "connections accepted from peers",
    Counter.CONNECTIONS_CONNECTED: "connections made to peers",
    Counter.CONNECTIONS_CLOSED: "connections closed, by whichever side",
    Counter.CONNECT_FAILURES: "attempts to connect that failed",
    Counter.ACCEPT_FAILURES: "accepts that failed (descriptors, memory)",
    Counter.REFUSED_SOCKET_TYPE: "peers refused: their socket type does not fit this side",
    Counter.REFUSED_MECHANISM: "peers refused: security mechanism other than ours",
    Counter.REFUSED_VERSION: "peers refused: ZMTP older than 3.0",
    Counter.REFUSED_MALFORMED: "peers refused: their handshake is not ZMTP",
    Counter.REFUSED_HANDSHAKE_TIMEOUT: "peers refused: no handshake in time",
    Counter.REFUSED_NAME_IN_USE: "peers refused: their routing id belongs to a live connection",
    Counter.REFUSED_ROUTING_ID: "peers refused: a routing id that begins with a zero byte",
    Counter.REFUSED_LIMIT: "peers refused: too many connections from their address",
    Counter.CLOSED_TOO_LARGE: "connections closed: a message above the limit",
    Counter.CLOSED_MALFORMED: "connections closed: malformed frames after the handshake",
    Counter.CLOSED_STALLED: "connections closed: no progress of a message, or of an outbox that holds up all others",
    Counter.CLOSED_HEARTBEAT: "connections closed: no sign of life",
    Counter.CLOSED_UNACKNOWLEDGED: "connections closed: what was sent stayed unacknowledged, their host is gone",
    Counter.CLOSED_FENCED: "connections closed: silent, and a newcomer took their routing id",
    Counter.CLOSED_PEER_ERROR: "connections closed by the peer's ERROR",
    Counter.CLOSED_NO_MEMORY: "connections closed: the system had no memory for them",
    Counter.PINGS_IN: "PINGs received",
    Counter.PINGS_OUT: "PINGs sent",
    Counter.PONGS_IN: "PONGs received",
    Counter.PONGS_DROPPED: "PINGs left unanswered: their peer does not read, its outbox is over budget",
    Counter.TURNS: "turns of the relay's loop",
    Counter.WAKEUPS: "turns that began by blocking in the poller",
    Counter.SPINS: "turns that began by spinning on the poller",
    Counter.EVENTS_LOST: "log events lost because nobody fetched them",
}

GAUGE_HELP = {
    Gauge.FRONTEND_CONNECTIONS: "clients with a finished handshake",
    Gauge.BACKEND_CONNECTIONS: "workers with a finished handshake",
    Gauge.HANDSHAKING: "connections still in their handshake",
    Gauge.WAITING_REQUESTS: "requests waiting for a worker that can take them",
    Gauge.WAITING_BYTES: "their bytes",
    Gauge.MEMORY_BYTES: "blocks in use: what --memory limits",
    Gauge.POOLED_BYTES: "blocks kept for reuse",
    Gauge.PAUSED_CONNECTIONS: "connections not read for now: they, or all together, are over budget",
}

# In the enums' order, which is the order of a snapshot.
COUNTER_NAMES = tuple(counter.name.lower() for counter in sorted(COUNTER_HELP))
GAUGE_NAMES = tuple(gauge.name.lower() for gauge in sorted(GAUGE_HELP))

assert len(COUNTER_NAMES) == COUNTER_COUNT and len(GAUGE_NAMES) == GAUGE_COUNT, "a counter has no help text"
