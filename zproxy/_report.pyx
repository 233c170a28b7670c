"""Report: who is there and what waits, as Python sees it. Called by _relay.pyx with what it found in the mailbox."""

from typing import NamedTuple

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free

from zproxy.broker.broker cimport ROLE_WORKER, PeerRow as CPeerRow, ServiceRow as CServiceRow
from zproxy.broker.report cimport Report
from zproxy.broker.service cimport OUTCOME_COUNT, Account

from zproxy.broker.policy import POLICIES


class ServiceRow(NamedTuple):
    """One service, as the broker has it; ages in milliseconds. Without a name: all those that are forgotten."""

    name: str
    was_offered: bool
    workers: tuple[str, ...]
    waiting: int
    waiting_bytes: int
    oldest_ms: int | None           # how long the first of them has waited
    balance: str                    # the policy that picks their workers
    accepted: int                   # requests for it, each of which is live or ended in one of the next five
    delivered: int
    failed: int
    expired: int
    cancelled: int
    undelivered: int
    live: int


class PeerRow(NamedTuple):
    """One managed peer; ages in milliseconds. Of a node `in_flight` are its open requests."""

    name: str
    is_worker: bool
    is_known: bool                  # it has said who it is
    is_leaving: bool
    is_usable: bool
    is_resting: bool                # it has failed too often
    address: str
    incarnation: int
    credit: int
    in_flight: int
    oldest_ms: int | None           # how long a worker has had the first of them
    settled: int
    services: tuple[str, ...]
    waiting_bytes: int
    unread_bytes: int
    heard_ms: int                   # since its last byte
    step: int | None
    progress: float | None
    told_ms: int | None             # since it told its step or progress


cdef str name_wrap(const uint8_t* bytes, uint8_t count):
    return bytes[:count].decode("ascii")


cdef dict offers_wrap(const Report* report):
    cdef uint32_t row
    found = {}
    for row in range(report.offer_count):
        found.setdefault(report.offers[row].peer, []).append(
            name_wrap(report.offers[row].service, report.offers[row].service_bytes)
        )
    return found


# In the order of ServiceRow, which is that of the counters.
cdef tuple outcomes_wrap(const Account* account):
    cdef int outcome
    return tuple([account.outcomes[outcome] for outcome in range(OUTCOME_COUNT)])


cdef list services_wrap(const Report* report):
    cdef uint32_t row
    cdef const CServiceRow* entry
    names = {
        report.peers[row].peer: name_wrap(report.peers[row].name, report.peers[row].name_bytes)
        for row in range(report.peer_count)
    }
    workers = {}
    for peer, services in offers_wrap(report).items():
        for service in services:
            workers.setdefault(service, []).append(names[peer])
    found = []
    for row in range(report.service_count):
        entry = &report.services[row]
        name = name_wrap(entry.name, entry.name_bytes)
        found.append(ServiceRow(
            name,
            bool(entry.was_offered),
            tuple(sorted(workers.get(name, ()))),
            entry.waiting,
            entry.waiting_bytes,
            report.now_ms - entry.oldest_ms if entry.oldest_ms else None,
            POLICIES[entry.policy],
            entry.account.accepted,
            *outcomes_wrap(&entry.account),
            entry.account.live,
        ))
    return found


cdef list peers_wrap(const Report* report):
    cdef uint32_t row
    cdef const CPeerRow* entry
    offers = offers_wrap(report)
    found = []
    for row in range(report.peer_count):
        entry = &report.peers[row]
        found.append(PeerRow(
            name_wrap(entry.name, entry.name_bytes),
            entry.role == ROLE_WORKER,
            bool(entry.is_known),
            bool(entry.is_leaving),
            bool(entry.is_usable),
            bool(entry.is_resting),
            (<const char*>entry.address).decode(),
            entry.incarnation,
            entry.credit,
            entry.in_flight,
            report.now_ms - entry.oldest_ms if entry.oldest_ms else None,
            entry.settled,
            tuple(offers.get(entry.peer, ())),
            entry.waiting_bytes,
            entry.unread_bytes,
            report.now_ms - entry.heard_ms,
            entry.step if entry.has_step else None,
            entry.progress if entry.has_progress else None,
            report.now_ms - entry.told_ms if entry.has_step or entry.has_progress else None,
        ))
    return found


cdef object report_unwrap(void* taken):
    cdef Report* report = <Report*>taken
    if report == NULL:
        return [], []
    try:
        return services_wrap(report), peers_wrap(report)
    finally:
        free(report)
