"""Report: what the broker knows, as rows; see report.pxd for the contract."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc

from zproxy.broker.broker cimport broker_count_rows, broker_fill_rows


cdef Report* report_make(const Broker* broker, int64_t now_ms) noexcept nogil:
    cdef uint32_t services, peers, offers
    cdef Report* report
    broker_count_rows(broker, &services, &peers, &offers)
    report = <Report*>calloc(
        1,
        sizeof(Report) + services * sizeof(ServiceRow) + peers * sizeof(PeerRow) + offers * sizeof(OfferRow),
    )
    if report == NULL:
        return NULL
    report.now_ms = now_ms
    report.service_count, report.peer_count, report.offer_count = services, peers, offers
    report.services = <ServiceRow*>(report + 1)
    report.peers = <PeerRow*>(report.services + services)
    report.offers = <OfferRow*>(report.peers + peers)
    broker_fill_rows(broker, report.services, report.peers, report.offers)
    return report
