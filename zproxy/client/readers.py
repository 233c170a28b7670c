"""Readers: the threads that share one line. One of them reads for all.

Called by Node alone, which it does not know: a Node that is dropped can so be noticed, and ended.

    request() ─► send ─► nobody leads? lead:   poll ─► step, under the lock ─► tell whose requests ended ─► poll …
                     └─► else park             until told, or until the lead is passed on
    submit(), post() ─► send ─► nobody leads? a background reader leads while something of theirs is open

The thread that waits reads the socket itself, so a lone request costs no switch of threads. Senders need no leader:
they send under the lock while the leader polls the bare descriptors without it, which ZeroMQ allows; and because a send
takes the edge that a descriptor would have shown, they read what came, and tell the others.

Rule 1. The line is touched under the lock only; nothing of the caller's (futures, their callbacks) runs under it.
Rule 2. Who leaves passes the lead on: to a parked thread, else to the background reader if something is open.
Rule 3. An exception anywhere, as Ctrl-C raises it, cancels the request of its thread, repairs the line and goes on.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from zproxy.client.conversation import POST
from zproxy.client.line import Line
from zproxy.client.pending import Pending

logger = logging.getLogger("zproxy.node")

PARK_S = 1.0  # then a parked thread looks for itself: who leads may be in a callback that takes long
IDLE_S = 1.0  # the background reader waits that long for more to do: starting one costs 100 us
CLOSE_S = 2.0  # for posts that wait and the proxy's GOODBYE
JOIN_S = 1.0
FAULT_S = 0.1  # the background reader rests after an error that may come again at once

get_ident = threading.get_ident
monotonic = time.monotonic


class Seat:
    """A thread that waits for its request; `request` is None for the background reader and for who closes."""

    __slots__ = ("_parked", "ident", "is_taken", "outer", "readers", "request")

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        self.ident = get_ident()
        self.request: Pending | None = None
        self.is_taken = False
        self.outer: Seat | None = None  # of the same thread, in a future's callback: takes this one's place after it
        self._parked: threading.Lock | None = None

    def prepare(self) -> None:
        """So that a `rouse` from now on is not missed by `park`."""
        if self._parked is None:
            self._parked = threading.Lock()
            self._parked.acquire()

    def park(self, seconds: float) -> bool:
        """Until roused; False: the time is over."""
        assert self._parked is not None
        return self._parked.acquire(timeout=seconds)

    def rouse(self) -> None:
        if self._parked is not None:
            with suppress(RuntimeError):  # it was roused already
                self._parked.release()

    def ended(self, request: Pending) -> None:
        """Its request has ended."""
        if self.ident != get_ident():
            self.rouse()
            self.readers.rouse(self)


class Readers:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.is_closing = False
        self.is_closed = False
        self._lock = threading.Lock()
        self._leader: Seat | None = None
        self._followers: dict[int, Seat] = {}  # by thread: a callback's nested seat stands for its thread's outer ones
        self._thread: threading.Thread | None = None  # the background reader
        self._reader = Seat(self)
        self._reader.prepare()
        self._is_abandoned = False
        self._in_callbacks: set[int] = set()  # threads that are in a future's
        self._rousing, self._roused = socket.socketpair()
        self._rousing.setblocking(False)
        self._roused.setblocking(False)
        self._rousing_descriptor = self._roused.fileno()
        self._polled: tuple[int, ...] = ()
        self._poll = select.poll()
        self._poll_until = 0.0
        self._watch_line()

    # ---- from Node ----

    def ask(
        self, kind: int, service: str, frames: Sequence[Any], timeout: float, confirm: bool, options: dict[str, Any]
    ) -> Pending:
        """A request that has ended. An exception meanwhile cancels it."""
        seat = Seat(self)
        session = self.line.session
        try:
            with self._lock:
                now = monotonic()
                request = session.request(
                    kind, service, frames, now, timeout, confirm=confirm, waiter=seat, **options
                )
                seat.request = request
                self._push(now)
                if not request.has_ended:
                    self._sit(seat)
            if session.ended:
                self._tell()
            while not request.has_ended:
                self._wait(seat)
            if seat.is_taken:
                with self._lock:
                    self._rise(seat)
        except BaseException:
            self._withdraw(seat)
            raise
        return request

    def hand_over(
        self, kind: int, service: str, frames: Sequence[Any], timeout: float, waiter: Any, options: dict[str, Any]
    ) -> Pending:
        """A request or post that nobody waits for here; `waiter.ended` is called once, in any thread."""
        request = None
        session = self.line.session
        with self._lock:
            now = monotonic()
            try:
                request = session.request(kind, service, frames, now, timeout, attended=False, waiter=waiter, **options)
                self._push(now)
                self._follow_up(request)
            except BaseException:
                if (request := request or (waiter and session.open_of(waiter))) is not None:
                    session.cancel(request)
                raise
        self._tell()
        return request

    def attend(self, request: Pending, until: float) -> None:
        """Reads until it has ended, if nobody else would: this thread leads, and is in a callback that waits."""
        leader = self._leader
        if leader is None or leader.ident != get_ident():
            return
        seat = Seat(self)
        seat.request = request
        try:
            with self._lock:
                self._sit(seat)
            while not request.has_ended and monotonic() < until:
                self._wait(seat)
        finally:
            with self._lock:
                self._rise(seat)
        self._tell()
        waiter = request.waiter
        if request.has_ended and waiter is not None:  # left for the callback's end, which waits for it
            request.waiter = None
            waiter.ended(request)

    def cancel(self, request: Pending) -> None:
        with self._lock:
            if not self.is_closed and self.line.session.cancel(request):
                self._push(monotonic())
        self._tell()

    def stats(self) -> dict[str, int]:
        with self._lock:
            return self.line.stats()

    def close(self) -> None:
        """Says GOODBYE; never takes longer than CLOSE_S and JOIN_S."""
        with self._lock:
            if self.is_closing:
                return
            self.is_closing = True
            now = monotonic()
            self.line.leave(now)
            seat = Seat(self)
            self._push(now)
            self._sit(seat)
            self._rouse_leader()
        try:
            self._tell()
            self._part(seat, monotonic() + CLOSE_S)
        finally:
            self._shut()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)

    def abandon(self) -> None:
        """Ends without a word: the Node is gone, or Python is. Called anywhere, so it takes no lock it cannot have."""
        self.is_closing = True
        self._is_abandoned = True
        if not self._lock.acquire(blocking=False):
            self._rouse_leader()
            return
        try:
            if self._leader is None:
                self._end()
            else:
                self._rouse_leader()
        finally:
            self._lock.release()
        self._tell()

    def rouse(self, seat: Seat) -> None:
        """Ends the poll of that seat, if it leads."""
        if self._leader is seat:
            self._rouse_leader()

    # ---- the lead; all under the lock ----

    def _sit(self, seat: Seat) -> None:
        seat.is_taken = True
        leader = self._leader
        if leader is None or leader.ident == seat.ident:
            seat.outer = leader or self._followers.pop(seat.ident, None)
            self._leader = seat
            return
        seat.prepare()
        seat.outer = self._followers.get(seat.ident)
        self._followers[seat.ident] = seat
        self._hasten(leader, seat.request)

    def _rise(self, seat: Seat) -> None:
        seat.is_taken = False
        if self._leader is not seat:
            self._unseat(seat)
            return
        self._leader = seat.outer
        if self._leader is None:
            self._leader = self._next_leader()
        if self._leader is None and self.line.session.unattended and not self.is_closing:
            self._lead_in_background()

    def _unseat(self, follower: Seat) -> None:
        if self._followers.pop(follower.ident, None) is follower and follower.outer is not None:
            self._followers[follower.ident] = follower.outer

    def _next_leader(self) -> Seat | None:
        for follower in self._followers.values():
            if follower.request is None or not follower.request.has_ended:
                del self._followers[follower.ident]
                follower.rouse()
                return follower
        return None

    def _lead_in_background(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._read, name=f"{self.line.session.name}-reader", daemon=True)
            thread.start()  # which may fail: until then it does not lead
            self._thread = thread
            self._reader.ident = thread.ident or 0
        self._leader = self._reader
        self._reader.rouse()

    def _follow_up(self, request: Pending) -> None:
        """Somebody has to read for it."""
        if request.has_ended:
            return
        if self._leader is None:
            self._lead_in_background()
        else:
            self._hasten(self._leader, request)

    def _hasten(self, leader: Seat, request: Pending | None) -> None:
        """The leader may be waiting for longer than the request has."""
        if request is not None and request.deadline < self._poll_until:
            self._rouse_leader()

    def _rouse_leader(self) -> None:
        with suppress(OSError):  # full, so it is roused; or closed
            self._rousing.send(b"\0")

    def _push(self, now: float) -> None:
        try:
            self.line.push(now)
        finally:
            self.line.repair(now)
        if self.line.descriptors is not self._polled:
            self._rouse_leader()

    def _watch_line(self) -> None:
        """Polls the line's present descriptors: the leader's to do."""
        self._polled = self.line.descriptors
        self._poll = select.poll()
        self._poll.register(self._rousing_descriptor, select.POLLIN)
        for descriptor in self._polled:
            self._poll.register(descriptor, select.POLLIN)

    # ---- waiting ----

    def _wait(self, seat: Seat) -> None:
        """A while: until something happened that may be the end of the seat's request."""
        if self._leader is not seat:
            is_roused = seat.park(PARK_S)
            with self._lock:
                if self._leader is None:
                    self._followers.pop(seat.ident, None)
                    self._leader = seat
                if self._leader is seat:
                    self._step(seat)
                elif not is_roused:
                    self._look()
        else:
            self._poll_line()
            with self._lock:
                self._step(seat)
        if self.line.session.ended or self.line.session.said:
            self._tell()

    def _look(self) -> None:
        """A step of a thread that does not lead; of other descriptors, who leads is told."""
        if self.is_closed:
            return
        self.line.step(monotonic())
        if self.line.descriptors is not self._polled:
            self._rouse_leader()

    def _poll_line(self) -> None:
        now = monotonic()
        wait_s = self.line.due_in(now)
        self._poll_until = now + wait_s
        for descriptor, _ in self._poll.poll(wait_s * 1000):
            if descriptor == self._rousing_descriptor:
                with suppress(OSError):  # taken already, or closed meanwhile
                    self._roused.recv(4096)
        self._poll_until = 0.0

    def _step(self, seat: Seat) -> None:
        if self.is_closed:
            return
        self.line.step(monotonic())
        if self.line.descriptors is not self._polled:
            self._watch_line()
        if seat.request is not None and seat.request.has_ended:
            self._rise(seat)

    def _tell(self) -> None:
        session = self.line.session
        while session.said:
            with suppress(IndexError):
                logger.log(*session.said.popleft())
        is_nested = get_ident() in self._in_callbacks
        left: list[Pending] = []
        try:
            while session.ended:
                with suppress(IndexError):
                    request = session.ended.popleft()
                    if is_nested and request.waiter is not None and not isinstance(request.waiter, Seat):
                        left.append(request)  # callbacks within callbacks would end in a RecursionError
                    else:
                        self._tell_waiter(request)
        finally:
            session.ended.extend(left)

    def _tell_waiter(self, request: Pending) -> None:
        waiter, request.waiter = request.waiter, None  # they know each other: a cycle, with all that was sent
        if isinstance(waiter, Seat):
            waiter.ended(request)
        elif waiter is not None:
            self._call_back(waiter, request)
        elif request.kind == POST and request.error is not None:
            logger.warning("%s", request.error)

    def _call_back(self, waiter: Any, request: Pending) -> None:
        ident = get_ident()
        self._in_callbacks.add(ident)
        try:
            waiter.ended(request)
        except BaseException:
            request.waiter = waiter  # Ctrl-C came between, perhaps before it heard: it is told again
            self.line.session.ended.appendleft(request)
            raise
        finally:
            self._in_callbacks.discard(ident)

    def _withdraw(self, seat: Seat) -> None:
        with self._lock:
            now = monotonic()
            if not self.is_closed:
                self.line.repair(now)
                request = seat.request or self.line.session.open_of(seat)
                if request is not None and self.line.session.cancel(request):
                    self._push(now)
            self._rise(seat)
        self._tell()

    def _read(self) -> None:
        """The background reader's life."""
        seat = self._reader
        while True:
            if self._leader is not seat and not seat.park(IDLE_S):
                with self._lock:
                    if self._is_abandoned:
                        self._end()
                    if self._leader is not seat:
                        self._thread = None
                        return
            if self.is_closed:
                return
            if self._leader is seat:
                self._lead_on(seat)

    def _lead_on(self, seat: Seat) -> None:
        try:
            self._lead(seat)
        except BaseException:  # of a callback, as SystemExit, or a log's handler: others wait for this thread
            logger.exception("an error in the reader of %s, which goes on", self.line.session.name)
            time.sleep(FAULT_S)
            with self._lock:
                self.line.repair(monotonic())

    def _lead(self, seat: Seat) -> None:
        with self._lock:
            self._step(seat)
        self._tell()
        while self._leader is seat:
            self._poll_line()
            with self._lock:
                self._step(seat)
                if self._is_abandoned:
                    self._end()
                elif self.is_closing or not self.line.session.unattended:
                    self._rise(seat)
            self._tell()

    # ---- the end ----

    def _part(self, seat: Seat, until: float) -> None:
        session = self.line.session
        while monotonic() < until and not (self._leader is seat and session.has_left):
            self._wait(seat)

    def _shut(self) -> None:
        with self._lock:
            self._end()
            self._leader = None
            self._followers.clear()
        self._tell()

    def _end(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.line.session.leave()
        self.line.session.abandon()
        self.line.close()
        self._leader = None
        self._reader.rouse()
        self._rousing.close()
        self._roused.close()
