"""Relay: what the fast path does around the broker: hands it messages, carries out verdicts, asks it for the next step.

A turn is some events and then `settle`: whatever the broker still has to say, until it has nothing, as in the engine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from zproxy.envelope import Kind

from .book import Violation
from .link import Link
from .oracle import Oracle
from .rules import Rules, row_of
from .surface import Said, Surface, Told

if TYPE_CHECKING:
    from .peer import Peer
    from .world import World

STEPS_MAX = 10_000
CHALLENGE_MS = 2000
REFUSABLE = (int(Kind.REPLY), int(Kind.ERROR), int(Kind.PROGRESS), int(Kind.CHUNK))


class Relay:
    def __init__(self, world: World, surface: Surface) -> None:
        self.world = world
        self.surface = surface
        self.oracle = Oracle(world.knobs)
        self.links: dict[int, Link] = {}
        self.free_slots: list[int] = []
        self.is_unsettled = False
        self.is_down = False
        self._wake_ms: int | None = None
        if world.rules is not None:
            self.swap(world.rules)

    # ---- events ----

    def connect(self, peer: Peer) -> Link:
        """A connection stands; WELCOME is on its way."""
        slot = heapq.heappop(self.free_slots) if self.free_slots else len(self.links)
        row = row_of(peer.key_name)
        told = self.surface.join(slot, peer.is_worker, row, peer.key_name)
        link = Link(self.world, self, peer, slot, self.oracle.join(slot, peer.is_worker, row, peer.key_name, told))
        self.links[slot] = link
        if self.world.is_traced:
            self.world.trace(f"{peer.name} connects as {slot}")
        self._carry_out(told)
        self.is_unsettled = True
        return link

    def arrive(self, link: Link, said: Said) -> None:
        if self.is_down:
            return
        now_ms = self.world.now_ms
        self.oracle.now_ms = now_ms
        told = self.surface.hear(link.slot, said, now_ms)
        if self.world.is_traced:
            self.world.trace(f"{link.peer.name} @{link.slot} is heard", said.envelope)
            self._trace(told)
        self.oracle.hear(link.seat, said, told)
        self.is_unsettled = True
        random = link.peer.random
        knobs = self.world.knobs
        if told.verdict == "KEEP" and not link.peer.is_worker and random.random() < knobs.unkept_share:
            instead = self.surface.unkept(told)
            self._trace(instead)
            self.oracle.unkept(told, instead)
            told = instead
        elif told.verdict == "PASS" and told.envelope is not None and told.envelope.kind in REFUSABLE:
            if random.random() < knobs.undelivered_share:
                instead = self.surface.undelivered(told)
                self._trace(instead)
                self.oracle.undelivered(told, instead)
                told = instead
        self._carry_out(told)

    def close(self, link: Link) -> None:
        """The connection's end is seen here."""
        if self.is_down or not link.is_joined:
            return
        link.is_joined = False
        del self.links[link.slot]
        heapq.heappush(self.free_slots, link.slot)
        self.oracle.now_ms = self.world.now_ms
        if self.world.is_traced:
            self.world.trace(f"{link.peer.name} @{link.slot} is gone")
        self.oracle.leave(link.seat)
        self.surface.leave(link.slot, self.world.now_ms)
        self.is_unsettled = True

    def set_usable(self, link: Link, is_usable: bool) -> None:
        if self.is_down or not link.is_joined or not link.peer.is_worker:
            return
        link.seat.is_usable = is_usable
        if self.world.is_traced:
            self.world.trace(f"{link.peer.name} @{link.slot} is {'usable' if is_usable else 'not usable'}")
        self.surface.set_usable(link.slot, is_usable)
        self.is_unsettled = True

    def dismiss(self, name: str) -> None:
        self.oracle.dismiss(name)
        self.surface.dismiss(name)
        self.is_unsettled = True

    def swap(self, rules: Rules) -> None:
        self.oracle.swap(rules)
        self.surface.swap(rules)
        self.is_unsettled = True

    def drain(self) -> None:
        self.oracle.is_draining = True
        self.surface.drain()
        self.is_unsettled = True

    def abort(self) -> None:
        self.oracle.is_draining = self.oracle.is_aborted = True
        self.surface.abort()
        self.is_unsettled = True

    # ---- verdicts ----

    def _trace(self, told: Told) -> None:
        if not self.world.is_traced:
            return
        peer = "" if told.peer not in self.links else f" → {self.links[told.peer].peer.name} @{told.peer}"
        self.world.trace(f"    {told.verdict}{peer}", told.envelope)

    def _carry_out(self, told: Told) -> None:
        if told.envelope is not None and told.peer is not None:
            self.links[told.peer].send_down(told.envelope)
        if told.challenged is not None:
            self.world.after(CHALLENGE_MS, self._judge, self.links[told.challenged])
        if told.closing is not None:
            elder = self.links[told.closing]
            elder.cut(elder.peer.random.randrange(5), elder.peer.delay(), False, True)

    def _judge(self, holder: Link) -> None:
        """It was asked for a sign of life."""
        if holder.is_joined and (holder.is_swallowing or holder.peer.is_frozen):
            holder.cut(0, holder.peer.delay(), False, not holder.is_swallowing)

    def settle(self) -> None:
        """Until the broker has nothing more to do of itself."""
        self.is_unsettled = False
        now_ms = self.world.now_ms
        self.oracle.now_ms = now_ms
        for _ in range(STEPS_MAX):
            told = self.surface.step(now_ms)
            if told is None:
                break
            self._trace(told)
            self.oracle.stepped(told)
            self._carry_out(told)
        else:
            raise Violation("rest", f"the broker still has something to do after {STEPS_MAX} steps")
        self.oracle.settled(self.surface)
        due_ms = self.surface.due_ms()
        deadline_ms = self.oracle.next_deadline_ms()
        if deadline_ms is not None and (due_ms is None or due_ms > deadline_ms):
            raise Violation("late", f"the next deadline is {deadline_ms}, but due is {due_ms}")
        if due_ms is None:
            return
        if due_ms <= now_ms:
            raise Violation("rest", f"nothing to do, but due at {due_ms}")
        if self._wake_ms is None or due_ms < self._wake_ms or self._wake_ms <= now_ms:
            self._wake_ms = due_ms
            self.world.at(due_ms, self._wake, due_ms)

    def _wake(self, due_ms: int) -> None:
        if self._wake_ms == due_ms and not self.is_down:
            self._wake_ms = None
            self.is_unsettled = True

    def link_of(self, peer: Peer) -> Link | None:
        """The one it is heard on."""
        return peer.link if peer.link is not None and peer.link.is_joined and peer.link.relay is self else None

    def die(self, notice: Callable[[Link], None]) -> None:
        """kill -9: every connection ends, and nothing is remembered."""
        self.is_down = True
        for link in self.links.values():
            link.is_joined = False
            notice(link)
