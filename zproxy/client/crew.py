"""Crew: the threads of a master that runs, and its links to the proxies.

Called by Master alone, which it does not know: a Master that is dropped can so be noticed, and ended.

    a handler's thread    lead ─► read all links ─► take a delivery ─► pass the lead on ─► handler ─► answer ─► lead …
    the watcher           sleep ─► nobody leads? read all links, say what is due ─► is it over? ─► sleep …

Handler threads take turns at reading: the one that leads polls the links' descriptors, takes one delivery and runs it
itself; nothing is handed from thread to thread. While all of them run handlers, nobody leads. Then the watcher reads
every WATCH_S, so that a CANCEL or a new WELCOME is heard, READY said again and leases extended, however long the
handlers take; a handler that asks `is_cancelled` reads at once. The watcher is the thread that calls `watch`: with
Master.run the caller's own, which signals reach at once even while handlers compute. It sleeps for good while nothing
is in hand.

Rule 1. A link or session is touched under the lock only; handlers run without it.
Rule 2. Whoever touches a link while another thread polls wakes that one if there is something to read: a send takes
        the edge that ZMQ_FD would have shown.
Rule 3. When the crew is over, no link is touched any more; what still runs is counted late.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import zmq

from zproxy.client.answers import Answers
from zproxy.client.credentials import Credentials
from zproxy.client.delivery import Delivery
from zproxy.client.link import Link
from zproxy.client.services import Services
from zproxy.client.worker_session import WorkerSession
from zproxy.errors import error_of
from zproxy.processes import Stop

logger = logging.getLogger("zproxy.master")

FLUSH_S = 0.01  # answers that libzmq had no room for are tried again: it may say only once that it has room
WATCH_S = 0.25  # CANCEL and WELCOME are heard that late while all handlers are busy, for four wake-ups a second
SILENCE_S = 5.0  # without any proxy, until the log says so
GOODBYE_S = 2.0  # for the proxy's GOODBYE once all is answered
LINGER_MS = 500  # for answers still on their way to a proxy that did not say GOODBYE
JOIN_S = 1.0  # for threads that have nothing left to do


class Crew:
    def __init__(
        self,
        name: str,
        endpoints: Sequence[str],
        services: Services,
        answers: Answers,
        concurrency: int,
        drain_s: float,
        session: Callable[[], WorkerSession],
        stop: Stop,
        credentials: Credentials | None,
    ) -> None:
        self.stop = stop
        self.drain_s = drain_s
        self.error: BaseException | None = None
        self.is_over = False
        self.ended = threading.Event()  # all is closed
        self._name = name
        self._services = services
        self._answers = answers
        self._watch_s = min(WATCH_S, services.shortest_lease_s / 6)  # due a third after they began, said within half
        self._lock = threading.Lock()
        self._lead = threading.Lock()
        self._is_polling = False
        self._is_leaving = False
        self._is_watcher_idle = False
        self._watcher: threading.Thread | None = None
        self._running = 0  # handlers
        self._begun = self._begun_before = 0  # handlers ever; at the watcher's last look
        self._left_at = self._ends_at = 0.0  # once leaving
        self._turn = 0  # of the links, so that none starves another
        self._rousing, self._rouse = socket.socketpair()
        self._rousing.setblocking(False)
        self._rouse.setblocking(False)
        self._rousing_descriptor = self._rousing.fileno()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poll = select.poll()
        self._poll.register(self._rousing, select.POLLIN)
        self._credentials = credentials
        self._links: list[Link] = []
        try:
            self._connect(endpoints, session)
        except BaseException:
            self._context.destroy(0)
            raise
        self._silence_ends_at: float | None = time.monotonic() + SILENCE_S
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True)
            for number in range(concurrency)
        ]

    def _connect(self, endpoints: Sequence[str], session: Callable[[], WorkerSession]) -> None:
        for endpoint in endpoints:
            link = Link(self._context, endpoint, session(), self._poll_instead, time.monotonic(), self._credentials)
            self._links.append(link)
            self._poll.register(link.descriptor, select.POLLIN)
        sessions = [link.session for link in self._links]
        for each in sessions:
            each.siblings = sessions

    # ---- from Master ----

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def watch(self) -> None:
        """Until the crew is over, which `stop` or a refusal brings about. One thread, once."""
        self._watcher = threading.current_thread()
        try:
            while not self.is_over:
                self.stop.sleep(self._patience())
                with self._lock:
                    self._steer(time.monotonic())
        finally:
            self._close()

    def end_at_once(self, timeout_s: float) -> None:
        """Without a drain; returns when all is closed, or after `timeout_s`."""
        self.stop.signals = 2
        self.stop.ask()
        self.ended.wait(timeout_s)

    def has(self, thread: threading.Thread) -> bool:
        """Is it one of the crew's, which cannot wait for the crew's end?"""
        return thread is self._watcher or thread in self._threads

    def stats(self) -> dict[str, int]:
        with self._lock:
            totals: dict[str, int] = {}
            for link in self._links:
                for name, count in link.session.stats().items():
                    totals[name] = totals.get(name, 0) + count
            return totals

    # ---- from handlers: Line ----

    def is_cancelled(self, delivery: Delivery) -> bool:
        with self._lock:
            if not self._is_polling and not self.is_over:
                self._read_all(time.monotonic())
        return delivery.is_cancelled

    def progress(self, delivery: Delivery, percent: float, step: int | None) -> None:
        with self._lock:
            delivery.newest.session.progress(delivery.newest, percent, step)
            self._flush_all()

    # ---- a handler's thread ----

    def _serve(self) -> None:
        try:
            while self._serve_next():
                pass
        except BaseException as error:
            logger.exception("a thread of %s ended by a fault of zproxy's own", self._name)
            self.error = error
            self.stop.ask()

    def _serve_next(self) -> bool:
        """Holds what it has taken no longer than it runs: the wait for the next one may be long."""
        taken = self._next()
        if taken is None:
            return False
        self._work(taken)
        return True

    def _next(self) -> Delivery | None:
        """A delivery to run, however long it takes to come; None: there will be none."""
        has_waited = False
        with self._lead:
            while True:
                with self._lock:
                    self._is_polling = False
                    now = time.monotonic()
                    taken = None if self.is_over else self._take(now)
                    if taken or self.is_over:
                        return taken
                    if has_waited:  # for no message, so a connection came or went
                        self._watch_links(now)
                    self._is_polling = True
                    wait_ms = self._wait_ms(now)
                self._wait(wait_ms)
                has_waited = True

    def _work(self, delivery: Delivery) -> None:
        outcome = self._services.outcome_of(delivery, self)
        with self._lock:
            self._running -= 1
            self._answers.end(delivery, outcome)
            self._flush_all()
            if self._is_leaving:
                self.stop.wake()

    def _take(self, now: float) -> Delivery | None:
        self._read_all(now)
        if self._is_leaving:
            self.stop.wake()
        for _ in self._links:
            self._turn = (self._turn + 1) % len(self._links)
            link = self._links[self._turn]
            delivery = link.session.take(now)
            if link.session.outbox:
                link.read(now)
                delivery = delivery or link.session.take(now)
            if delivery is not None:
                self._running += 1
                self._begun += 1
                if self._is_watcher_idle:
                    self._is_watcher_idle = False
                    self.stop.wake()
                return delivery
        return None

    def _wait(self, wait_ms: float | None) -> None:
        for descriptor, _ in self._poll.poll(wait_ms):
            if descriptor == self._rousing_descriptor:
                with suppress(OSError):
                    self._rousing.recv(4096)

    # ---- the watcher ----

    def _patience(self) -> float | None:
        """How long there is nothing to steer."""
        with self._lock:
            now = time.monotonic()
            if self._is_leaving:
                return max(0.0, min(self._ends_at - now, WATCH_S))
            # Not by `_running` alone: handlers are short, and waking the watcher for each would halve their rate.
            self._is_watcher_idle = not self._running and self._begun == self._begun_before
            self._begun_before = self._begun
            return None if self._is_watcher_idle else self._watch_s

    def _steer(self, now: float) -> None:
        if not self._is_polling:
            self._read_all(now)
            self._watch_links(now)
        if self.error is not None:
            self.stop.is_asked = True
        if self.stop.is_asked and not self._is_leaving:
            self._leave(now)
        if self._is_leaving:
            self._end_when_done(now)

    def _leave(self, now: float) -> None:
        self._is_leaving = True
        self._left_at = now
        self._ends_at = now + self.drain_s
        for link in self._links:
            link.session.leave()
            self._flush(link)

    def _end_when_done(self, now: float) -> None:
        is_idle = not self._running and not any(link.session.has_work for link in self._links)
        if is_idle and all(link.session.has_ended for link in self._links):
            self.is_over = True
        elif self.stop.signals > 1 or now >= min(self._ends_at, self._left_at + self.drain_s):
            self._cut_off()
        elif is_idle:
            self._ends_at = min(self._ends_at, now + GOODBYE_S)

    def _cut_off(self) -> None:
        self.is_over = True
        for link in self._links:
            link.session.give_back()
            link.flush()
        if self._running:
            logger.warning("%s ends while handlers run, %d of them: their answers are lost", self._name, self._running)

    def _close(self) -> None:
        with self._lock:
            self.is_over = True
            self._wake_leader()
        for thread in self._threads:
            if self._running == 0:
                thread.join(JOIN_S)
        with self._lock:
            for link in self._links:
                link.close(LINGER_MS)
            self._rousing.close()
            self._rouse.close()
        self._context.term()
        self.stop.close()
        self.ended.set()

    # ---- under the lock ----

    def _read_all(self, now: float) -> None:
        for link in self._links:
            link.read(now)
            session = link.session
            if session.remarks:
                self._log(link)
            if session.refusal and self.error is None:
                code, sentence = session.refusal
                self.error = error_of(code, service="", node=self._name, sentence=sentence)
                logger.error("%s ends: the proxy at %s refuses it: %s", self._name, link.endpoint, self.error)
                self.stop.wake()

    def _flush_all(self) -> None:
        for link in self._links:
            if link.session.outbox or link.session.has_work:
                self._flush(link)

    def _flush(self, link: Link) -> None:
        link.flush()
        if not self._is_polling or self.is_over:
            return
        if link.session.has_work or link.is_readable or link.session.outbox:
            self._wake_leader()

    def _wake_leader(self) -> None:
        with suppress(OSError):  # full: it is awake already; closed: nobody leads any more
            self._rouse.send(b"\0")

    def _watch_links(self, now: float) -> None:
        for link in self._links:
            link.watch(now)
        if self._silence_ends_at is not None and now >= self._silence_ends_at:
            self._silence_ends_at = None
            for link in self._links:
                if not link.session.counts["welcomes"]:
                    logger.warning("no proxy has answered %s at %s yet; it goes on trying", self._name, link.endpoint)

    def _wait_ms(self, now: float) -> float | None:
        """Until a session has something to do of itself, or a connection is to be looked at."""
        soonest: float | None = None
        for link in self._links:
            due_at = link.session.due_at
            if link.session.outbox:
                due_at = now + FLUSH_S
            if not link.is_connected and (due_at is None or due_at > now + WATCH_S):
                due_at = now + WATCH_S
            if due_at is not None and (soonest is None or due_at < soonest):
                soonest = due_at
        return None if soonest is None else max(0.0, (soonest - now) * 1000)

    def _poll_instead(self, before: int, after: int) -> None:
        if before >= 0:
            self._poll.unregister(before)
        if after >= 0:
            self._poll.register(after, select.POLLIN)
        self._wake_leader()

    def _log(self, link: Link) -> None:
        for remark in link.session.remarks:
            logger.warning("%s: %s", link.endpoint, remark)
        link.session.remarks.clear()
