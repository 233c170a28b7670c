"""World: one run: virtual time, the peers, the proxy's lives, and the actions of a schedule."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from zproxy.envelope import Envelope

from .book import Violation
from .link import Link
from .node import Node
from .peer import Peer
from .relay import Relay
from .rules import NAMES, rules_of
from .schedule import GUARDED, SERVICES, Action, Knobs, schedule_of
from .surface import Surface, line_of
from .words import (
    NOT_IDEMPOTENT,
    ORDERED,
    POST,
    REPLY,
    REQUEST,
    RETRY_ERRORS,
    WANTS_ACCEPTED,
    WANTS_PROGRESS,
)
from .worker import Worker

BEAT_MS = 2000
BEATS = 3
EVENTS_MAX = 200_000

SurfaceMaker = Callable[[int, Knobs], Surface]  # of a seed


class World:
    """`run` ends well, or raises Violation; `actions` other than the seed's own are a part of them."""

    def __init__(
        self, seed: int, surface: SurfaceMaker = Surface,
        actions: list[Action] | None = None, is_traced: bool = False,
    ) -> None:
        self.knobs, own_actions = schedule_of(seed)
        self.actions = own_actions if actions is None else actions
        self.seed = seed
        self.random = Random(~seed)
        rules_seed = self.knobs.rules_seed
        self.rules = None if rules_seed is None else rules_of(Random(rules_seed))
        self.make_surface = surface
        self.is_traced = is_traced
        self.lines: list[str] = []
        self.now_ms = 1_000_000
        self.events = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._order = 0
        self._surfaces = 0
        self.made: dict[str, int] = {}  # peers, by name
        self.relay: Relay | None = None
        self.nodes: list[Node] = []
        self.workers: list[Worker] = []
        self.begun: dict[tuple[int, int], int] = {}  # (incarnation, sequence) → how often, by whom may not twice
        self.taken: dict[tuple[int, int], int] = {}  # deliveries of each
        self.is_stopped = False  # the proxy drained: nobody comes back

    # ---- time ----

    def at(self, at_ms: int, act: Callable[[Any], None], argument: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at_ms, self._order, act, argument))

    def after(self, ms: int, act: Callable[[Any], None], argument: Any) -> None:
        self.at(self.now_ms + ms, act, argument)

    def random_of(self, name: str) -> Random:
        """A peer's own, so that what one does changes nothing for the others, and a shrunk run is like the whole."""
        self.made[name] = self.made.get(name, 0) + 1
        return Random(f"{self.seed} {name} {self.made[name]}")

    def trace(self, text: str, envelope: Envelope | None = None) -> None:
        if self.is_traced:
            said = "" if envelope is None else f": {line_of(envelope)}"
            self.lines.append(f"{self.now_ms - 1_000_000:>7} ms  {text}{said}")

    # ---- a run ----

    def run(self) -> None:
        self.start_proxy(None)
        self.nodes = [Node(self, f"n{number}") for number in range(self.knobs.node_count)]
        for number, offers in enumerate(self.knobs.offers):
            self.workers.append(Worker(self, f"w{number}", offers, 1))
            self.workers[-1].credit = self.workers[-1].random.randint(1, self.knobs.credit_max)
        for peer in (*self.nodes, *self.workers):
            self.after(peer.random.randrange(30), peer.connect, None)
        for action in self.actions:
            self.after(action.at_ms, self._act, action)
        self._go_on()
        self.finish()

    def _go_on(self) -> None:
        """Until nothing happens any more."""
        heap = self._heap
        while heap:
            self.events += 1
            if self.events > EVENTS_MAX:
                raise Violation("rest", "events without an end")
            at_ms, _, act, argument = heapq.heappop(heap)
            relay = self.relay
            if relay is not None and relay.is_unsettled and (at_ms > self.now_ms or self.random.random() < 0.7):
                relay.settle()
                if heap and heap[0][0] < at_ms:     # what the relay said may come first
                    heapq.heappush(heap, (at_ms, _, act, argument))
                    continue
            self.now_ms = at_ms
            act(argument)
            if not heap and self.relay is not None and self.relay.is_unsettled:
                self.relay.settle()

    def _act(self, action: Action) -> None:
        self.trace(f"---- {action.name} {action.seed}")
        getattr(self, f"do_{action.name}")(Random(action.seed))

    def finish(self) -> None:
        """Everybody has an outcome, everybody leaves, and nothing is left."""
        for node in self.nodes:
            for want in node.waits():
                raise Violation("all end", f"{node.name} waits for #{want.sequence} for ever")
        relay = self.relay
        if relay is None:
            return
        relay.oracle.ended(relay.surface, len(relay.links))
        for link in [*relay.links.values()]:
            relay.close(link)
        relay.settle()
        relay.oracle.ended(relay.surface, 0)

    # ---- what is told from below ----

    def delivery_seed(self, given: Envelope) -> int:
        """What becomes of a delivery depends on nothing but whose it is and how many came before."""
        key = given.incarnation, given.sequence
        self.taken[key] = self.taken.get(key, 0) + 1
        return given.incarnation + given.sequence * 64 + self.taken[key]

    def executed(self, worker: Worker, given: Envelope) -> None:
        """A worker begins it."""
        is_guarded = bool(given.flags & NOT_IDEMPOTENT) or given.kind == POST
        if not is_guarded and not (given.service in GUARDED and given.service in worker.services):
            return
        key = given.incarnation, given.sequence
        self.begun[key] = self.begun.get(key, 0) + 1
        self.trace(f"{worker.name} begins #{given.sequence}, which may not run twice")
        if self.begun[key] > 1:
            raise Violation("guarded once", f"{worker.name} begins {given.name} #{given.sequence}, as one did before")

    def replace(self, peer: Peer) -> None:
        """It ends, and a successor of its name comes."""
        if peer.is_gone:
            return
        peer.die()
        if self.is_stopped or peer not in self.nodes and peer not in self.workers:
            return
        heir: Peer
        if isinstance(peer, Node):
            heir = Node(self, peer.name)
            self.nodes[self.nodes.index(peer)] = heir
        else:
            assert isinstance(peer, Worker)
            heir = Worker(self, peer.name, peer.services, peer.credit)
            self.workers[self.workers.index(peer)] = heir
        self.after(heir.random.randrange(1, 400), heir.connect, None)

    # ---- the proxy ----

    def start_proxy(self, _: None) -> None:
        self._surfaces += 1
        self.trace("the proxy starts")
        self.relay = Relay(self, self.make_surface(self.seed * 1000 + self._surfaces, self.knobs))

    def do_restart(self, random: Random) -> None:
        relay = self.relay
        if relay is None or self.is_stopped:
            return
        self.relay = None
        relay.die(lambda link: link.cut(0, random.randrange(100), random.random() < 0.7, random.random() < 0.3))
        self.after(random.randrange(500), self.start_proxy, None)

    def do_drain(self, random: Random) -> None:
        if self.relay is not None:
            self.is_stopped = True
            self.relay.drain()

    def do_abort(self, random: Random) -> None:
        if self.relay is not None:
            self.is_stopped = True
            self.relay.abort()

    def do_swap(self, random: Random) -> None:
        """Other rules; workers hear of it from their operators, sooner or later."""
        self.rules = rules_of(random)
        if self.relay is not None:
            self.relay.swap(self.rules)
        for worker in self.workers:
            if random.random() < 0.8:
                worker.later(random.randrange(300), worker.reconsider, None)

    # ---- what nodes do ----

    def do_request(self, random: Random, kind: int = REQUEST) -> None:
        knobs = self.knobs
        flags = NOT_IDEMPOTENT if kind == REQUEST and random.random() < knobs.guarded_share else 0
        if random.random() < 0.3:
            flags |= WANTS_PROGRESS if kind == REQUEST else WANTS_ACCEPTED
        if kind == REQUEST and random.random() < 0.2:
            flags |= RETRY_ERRORS
        key_hash = random.randint(1, 2) if random.random() < knobs.ordered_share else 0
        if key_hash:
            flags |= ORDERED
        patience_ms = random.randrange(1, knobs.patience_ms + 1)
        service = "blue" if random.random() < 0.03 else random.choice(SERVICES)
        priority = random.choice((1, 1, 1, 0, 2))
        sizes: tuple[int, ...] = ()
        if kind == REQUEST and random.random() < knobs.streamed_share:
            sizes = tuple(random.randint(1, 7) for _ in range(random.randint(1, 2)))
        random.choice(self.nodes).want(kind, service, priority, flags, patience_ms, key_hash, sizes)

    def do_post(self, random: Random) -> None:
        self.do_request(random, POST)

    def do_burst(self, random: Random) -> None:
        node = random.choice(self.nodes)
        service = random.choice(SERVICES)
        for _ in range(random.randrange(3, 16)):
            patience_ms = random.randrange(1, self.knobs.patience_ms + 1)
            node.want(REQUEST, service, random.choice((1, 1, 2)), 0, patience_ms)

    def do_cancel(self, random: Random) -> None:
        node = random.choice(self.nodes)
        if node.wants and random.random() < 0.9:
            node.cancel(random.choice([*node.wants]))
        elif node.sequence:
            node.cancel(random.randint(1, node.sequence))

    def do_leave_node(self, random: Random) -> None:
        random.choice(self.nodes).leave()

    # ---- what workers do ----

    def do_set_credit(self, random: Random) -> None:
        worker = random.choice(self.workers)
        worker.set_credit(random.randint(0, self.knobs.credit_max + 1))
        self.after(random.randrange(2000), lambda _: worker.set_credit(max(worker.credit, 1)), None)

    def do_ready_again(self, random: Random) -> None:
        worker = random.choice(self.workers)
        if worker.is_accepted and not worker.is_leaving:
            if "*" not in worker.services:
                worker.services = tuple(name for name in SERVICES if random.random() < 0.6) or ("green",)
            worker.introduce(None)

    def do_leave_worker(self, random: Random) -> None:
        random.choice(self.workers).leave()

    def do_dismiss_worker(self, random: Random) -> None:
        if self.relay is not None:
            self.relay.dismiss(random.choice(self.workers).name)

    def do_babble(self, random: Random) -> None:
        """Answers under leases that are another's, or over."""
        worker = random.choice(self.workers)
        leases = random.choice(self.workers).leases
        if worker.is_accepted and leases:
            sequence = random.randint(1, 20)
            incarnation = random.choice(self.nodes).incarnation
            lease = random.choice(leases[-5:])
            if lease not in worker.jobs:
                worker.say(REPLY, lease=lease, incarnation=incarnation, sequence=sequence)

    # ---- faults ----

    def some_peer(self, random: Random) -> Peer:
        return random.choice([*self.nodes, *self.workers])

    def do_cut(self, random: Random) -> None:
        link = self.some_peer(random).link
        if link is not None and link.is_joined:
            late_ms = random.choice((1, 20, 300))
            link.cut(random.randrange(late_ms), random.randrange(late_ms), random.random() < 0.7, random.random() < 0.3)

    def do_swallow(self, random: Random) -> None:
        """The network takes everything, and says nothing: both ends find out by missed beats."""
        link = self.some_peer(random).link
        if link is not None and link.is_joined:
            link.is_swallowing = True
            self.after(BEAT_MS, self._suspect, link)
            link.cut(BEAT_MS * BEATS, random.randrange(BEAT_MS, BEAT_MS * BEATS * 2), False, False)

    def do_kill_node(self, random: Random) -> None:
        self.replace(random.choice(self.nodes))

    def do_kill_worker(self, random: Random) -> None:
        self.replace(random.choice(self.workers))

    def do_freeze_node(self, random: Random) -> None:
        self.freeze(random.choice(self.nodes), random)

    def do_freeze_worker(self, random: Random) -> None:
        self.freeze(random.choice(self.workers), random)

    def freeze(self, peer: Peer, random: Random) -> None:
        if peer.is_frozen:
            return
        peer.is_frozen = True
        ms = random.randrange(random.choice((BEAT_MS, BEAT_MS * BEATS, BEAT_MS * BEATS * 2)))
        link = peer.link
        if link is not None and ms >= BEAT_MS:
            self.after(BEAT_MS, self._suspect, link)
        if link is not None and ms >= BEAT_MS * BEATS:
            link.cut(BEAT_MS * BEATS, BEAT_MS * BEATS, False, True)
        self.after(ms, self._thaw, (peer, link))

    def _suspect(self, link: Link) -> None:
        link.relay.set_usable(link, False)

    def _thaw(self, frozen: tuple[Peer, Link | None]) -> None:
        peer, link = frozen
        self.trace(f"{peer.name} goes on")
        peer.thaw()
        if link is not None and not link.is_swallowing:
            link.relay.set_usable(link, True)

    def do_fill_outbox(self, random: Random) -> None:
        link = random.choice(self.workers).link
        if link is not None and not link.is_swallowing and not link.peer.is_frozen:
            link.relay.set_usable(link, False)
            self.after(random.randrange(200), self._empty_outbox, link)

    def _empty_outbox(self, link: Link) -> None:
        if not link.is_swallowing and not link.peer.is_frozen:
            link.relay.set_usable(link, True)

    def do_step_clock(self, random: Random) -> None:
        self.some_peer(random).clock_ms += random.choice((-3_600_000, -700, 700, 10_000, 3_600_000))

    def do_impostor(self, random: Random) -> None:
        """Another of the same name, for a while."""
        elder = self.some_peer(random)
        double: Peer
        if isinstance(elder, Worker):
            double = Worker(self, elder.name, elder.services, 1)
        else:
            double = Node(self, elder.name)
            double.want(REQUEST, random.choice(SERVICES), 1, 0, 500)
        if self.rules is not None and random.random() < 0.5:
            double.key_name = random.choice(NAMES)  # a stranger's, most likely
        double.connect()
        self.after(random.randrange(1000), lambda _: double.die(), None)
