"""Report: what the broker knows, as rows in one piece of memory: for `zproxy status`, never on a message's way.

    Report | ServiceRow … | PeerRow … | OfferRow …

Made by the relay's thread between two events, read and freed by Python's.
"""

from libc.stdint cimport int64_t, uint32_t

from zproxy.broker.broker cimport Broker, OfferRow, PeerRow, ServiceRow

cdef struct Report:             # owned by whoever has it; one free() for all of it
    int64_t now_ms              # monotonic; the rows' times are compared with it
    uint32_t service_count
    uint32_t peer_count
    uint32_t offer_count
    ServiceRow* services
    PeerRow* peers
    OfferRow* offers

# NULL: no memory.
cdef Report* report_make(const Broker* broker, int64_t now_ms) noexcept nogil
