"""The broker under anything that may happen, against a list of what is open and who holds what.

Laws: one outcome for each accepted request; nothing goes to a peer that is gone, or in another conversation; no worker
holds more than it may; a key goes to its home, and waits for nobody else; of ordered requests with a key one is with a
worker; who was succeeded stays out; what is kept is sent or spent; the counters balance after every step; when all is
over, nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.brokers import Code, Desk, Flag, Kind, Node, Told, Worker, home_of

from zproxy.broker.policy import POLICIES

NODE_SLOTS = range(1, 5)
WORKER_SLOTS = range(101, 105)
LONGEST_MS = 5000

names = st.sampled_from(["a", "b", "c"])
incarnations = st.integers(1, 3)
sequences = st.integers(1, 8)
services = st.sampled_from(["red", "green", "blue"])
offers = st.lists(st.sampled_from(["red", ("green", 0, 0), ("green", 400, 0), "*"]), max_size=3)
request_flags = st.lists(
    st.sampled_from(
        [Flag.RESENT, Flag.WANTS_PROGRESS, Flag.WANTS_ACCEPTED, Flag.NOT_IDEMPOTENT, Flag.RETRY_ERRORS, Flag.ORDERED]
    ),
    max_size=2,
    unique=True,
)
often = st.sampled_from([True, True, True, True, False])
keys = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5])
seldom = st.sampled_from([False] * 9 + [True])
Key = tuple[str, int, int]  # name, incarnation, sequence


@dataclass
class Seat:
    """What the model knows of a connection."""

    peer: Node | Worker
    is_known: bool = False
    is_leaving: bool = False
    is_replaced: bool = False
    credit: int = 0
    held: dict[int, tuple[Told, bool]] = field(default_factory=dict)  # of a worker: lease → delivery, is it live?


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.seats: dict[int, Seat] = {}
        self.open: dict[Key, Kind] = {}  # accepted, of nodes that are there, no outcome told
        self.leased: dict[Key, int] = {}  # of the open ones, those a worker has: the lease
        self.guarded: set[Key] = set()  # of the open ones, those that may not run twice
        self.awaited: set[Key] = set()  # of the open ones, those their nodes were asked for
        self.wanted: dict[Key, tuple[str, int]] = {}  # by request, the service and its own key
        self.ordered: set[Key] = set()
        self.formers: dict[tuple[bool, str], set[int]] = {}  # by role and name, incarnations whose connection ended
        self.fenced: set[tuple[bool, str, int]] = set()
        self.unusable: set[int] = set()
        self.is_draining = False

    @initialize(
        no_worker_wait_ms=st.sampled_from([0, 0, 700]), services=offers, credit=st.integers(1, 3),
        policy=st.sampled_from(POLICIES),
    )
    def begin(self, no_worker_wait_ms: int, services: list[Any], credit: int, policy: str) -> None:
        self.desk = Desk(no_worker_wait_ms, policy=policy, policies={"blue": "least_outstanding"})
        self.connect_node(1, "a", 1, False)
        self.connect_node(2, "b", 2, False)
        self.connect_worker(101, "a", 1, ["red", "green"])
        self.connect_worker(102, "b", 2, services)
        self.say_ready(self.seats[101], "a", 1, ["red", "green"], credit)

    # ---- what is told ----

    def key(self, node: Node, sequence: int) -> Key:
        return node.name, node.incarnation, sequence

    def key_of(self, delivery: Told) -> Key:
        given = delivery.envelope
        return given.name, given.incarnation, given.sequence

    def close(self, key: Key) -> None:
        self.open.pop(key, None)
        self.leased.pop(key, None)
        self.guarded.discard(key)
        self.awaited.discard(key)

    def close_post(self, delivery: Told) -> None:
        """Nothing is told of a post that a worker had, unless its ACCEPTED is still to come."""
        key = self.key_of(delivery)
        if delivery.kind == "POST" and self.leased.get(key) == delivery.envelope.lease:
            self.steps()
            self.close(key)

    def see(self, told: Told) -> None:
        """Whatever the broker says has to fit what the model knows."""
        if told.frame is not None:
            assert told.peer in self.seats, f"{told} goes to nobody"
            seat = self.seats[told.peer]
            envelope = told.envelope
            assert not seat.is_replaced, f"{told} goes to a connection that was replaced"
            assert envelope.conversation == seat.peer.conversation, f"{told} is of another conversation"
            if isinstance(seat.peer, Worker):
                self.see_worker(seat, told)
            else:
                self.see_node(seat.peer, told)
        if told.closing is not None:
            self.replace(told.closing, told.peer)

    def see_worker(self, seat: Seat, told: Told) -> None:
        lease = told.envelope.lease
        if told.kind in ("REQUEST", "POST"):
            assert lease and lease not in seat.held
            self.see_home(told)
            self.see_order(told)
            assert seat.is_known and not seat.is_leaving and told.peer not in self.unusable
            seat.held[lease] = told, True
            key = self.key_of(told)
            if key in self.open:
                assert key not in self.leased or key not in self.guarded or told.envelope.attempt == 1, "it ran twice"
                self.leased[key] = lease
            assert len(seat.held) <= seat.credit, "more than the credit"
            assert 1 <= told.envelope.remaining_ms <= LONGEST_MS
        elif told.kind == "CANCEL":
            delivery, is_live = seat.held[lease]
            assert is_live, "cancelled twice"
            assert delivery.envelope.sequence == told.envelope.sequence
            seat.held[lease] = delivery, False
            if delivery.kind == "POST" and self.leased.get(self.key_of(delivery)) == lease:
                self.close(self.key_of(delivery))

    def takers(self, service: str) -> list[int]:
        """Whoever may be given its requests."""
        _, peers, pairs = self.desk.probe.rows()
        resting = {row["peer"] for row in peers if row["is_resting"]}
        named = [slot for slot, offered in pairs if offered == service]
        found = named or [slot for slot, offered in pairs if offered == "*"]
        assert not found or set(found) - resting, f"all of {found} rest"
        return [slot for slot in found if slot not in resting]

    def chain(self, key: Key) -> tuple[str, int] | None:
        return self.wanted[key] if key in self.ordered else None

    def see_order(self, told: Told) -> None:
        key = self.key_of(told)
        if key not in self.ordered:
            return
        for seat in self.seats.values():
            for held, _ in seat.held.values():
                other = self.key_of(held)
                assert other == key or self.chain(other) != self.chain(key), f"{key} runs beside {other}"

    def home(self, service: str, key: int) -> int | None:
        if key == 0 or self.desk.policies.get(service, self.desk.policy) != "hash":
            return None
        return home_of(key, {slot: self.seats[slot].peer.name for slot in self.takers(service)})

    def see_home(self, told: Told) -> None:
        envelope = told.envelope
        assert self.home(envelope.service, envelope.key_hash) in (None, told.peer), "another worker has its key"

    def see_node(self, node: Node, told: Told) -> None:
        if told.kind not in ("REPLY", "ERROR") or told.envelope.sequence == 0:
            return
        if told.code in ("NEED_HELLO", "DRAINING", "OUTCOME_UNKNOWN", "MALFORMED") and told.verdict == "SAY":
            return  # of what was not accepted, unless its rule says otherwise
        key = self.key(node, told.envelope.sequence)
        assert key in self.open, f"a second outcome, or one of nothing: {told}"
        if told.code == "RESEND":
            self.awaited.add(key)
            return
        self.close(key)

    def step(self) -> bool:
        step = self.desk.probe.step(self.desk.now_ms)
        if step is None:
            return False
        told = Told(*step)
        if told.kind == "GOODBYE" and told.peer in self.seats:
            seat = self.seats[told.peer]
            assert not (seat.is_leaving and seat.held), "GOODBYE before all is settled"
        self.see(told)
        return True

    def steps(self) -> None:
        while self.step():
            pass

    # ---- who is there ----

    @rule(slot=st.sampled_from([*NODE_SLOTS]), name=names, incarnation=incarnations, is_silent=st.booleans())
    def connect_node(self, slot: int, name: str, incarnation: int, is_silent: bool) -> None:
        if slot in self.seats:
            return
        self.seats[slot] = Seat(self.desk.connect_node(slot))
        if not is_silent:
            self.say_hello(self.seats[slot], name, incarnation)

    @rule(slot=st.sampled_from([*WORKER_SLOTS]), name=names, incarnation=incarnations, services=offers)
    def connect_worker(self, slot: int, name: str, incarnation: int, services: list[Any]) -> None:
        if slot in self.seats:
            return
        self.seats[slot] = Seat(self.desk.connect_worker(slot))
        if services:
            self.say_ready(self.seats[slot], name, incarnation, services, 2)

    def some(self, slot: int, role: type[Node] | type[Worker], busy: bool = False) -> Seat | None:
        """Of the connected ones, one that the number picks; `busy`: with something to answer, if there is any."""
        seats = [seat for _, seat in sorted(self.seats.items()) if isinstance(seat.peer, role)]
        seats = [seat for seat in seats if seat.held] or seats if busy else seats
        return seats[slot % len(seats)] if seats else None

    def named(self, role: type[Node] | type[Worker], name: str) -> Seat | None:
        for seat in self.seats.values():
            if isinstance(seat.peer, role) and seat.peer.name == name and seat.is_known and not seat.is_replaced:
                return seat
        return None

    def greet(self, seat: Seat, told: Told, name: str, incarnation: int) -> bool:
        """Was HELLO or READY accepted, and rightly so?"""
        peer = seat.peer
        holder = self.named(type(peer), name)
        role = isinstance(peer, Worker)
        if seat.is_replaced:
            assert told.verdict == "DROP"
        elif seat.is_known and (peer.name, peer.incarnation) != (name, incarnation):
            assert told.code == "MALFORMED"
        elif not seat.is_known and (role, name, incarnation) in self.fenced:
            assert told.code == "FENCED"
        elif holder and holder is not seat and holder.peer.incarnation != incarnation:
            assert (told.code, told.challenged) == ("NAME_IN_USE", holder.peer.slot)
        else:
            assert told.kind == "ACCEPTED"
            assert told.closing == (holder.peer.slot if holder and holder is not seat else None)
            elders = self.formers.get((role, name), set()) - {incarnation}
            self.fenced |= {(role, name, elder) for elder in elders}
            return True
        return False

    @rule(slot=st.integers(0, 3), name=names, incarnation=incarnations, is_same=often)
    def hello(self, slot: int, name: str, incarnation: int, is_same: bool) -> None:
        seat = self.some(slot, Node)
        if seat is None:
            return
        if is_same and seat.is_known:
            name, incarnation = seat.peer.name, seat.peer.incarnation
        self.say_hello(seat, name, incarnation)

    def say_hello(self, seat: Seat, name: str, incarnation: int) -> None:
        told = seat.peer.say(Kind.HELLO, name=name, incarnation=incarnation)
        if self.greet(seat, told, name, incarnation):
            seat.peer.name, seat.peer.incarnation = name, incarnation
            seat.is_known, seat.is_leaving = True, False
        self.see(told)

    @rule(
        slot=st.integers(0, 3), name=names, incarnation=incarnations, services=offers, credit=st.integers(0, 3),
        is_same=often,
    )
    def ready(
        self, slot: int, name: str, incarnation: int, services: list[Any], credit: int, is_same: bool
    ) -> None:
        seat = self.some(slot, Worker)
        if seat is None:
            return
        if is_same and seat.is_known:
            name, incarnation = seat.peer.name, seat.peer.incarnation
        self.say_ready(seat, name, incarnation, services, credit)

    def say_ready(self, seat: Seat, name: str, incarnation: int, services: list[Any], credit: int) -> None:
        assert isinstance(seat.peer, Worker)
        was = seat.peer.name, seat.peer.incarnation
        told = seat.peer.ready(services, credit, name, incarnation)
        said, (seat.peer.name, seat.peer.incarnation) = (name, incarnation), was
        if self.greet(seat, told, *said):
            seat.peer.name, seat.peer.incarnation = said
            seat.is_known, seat.is_leaving, seat.credit = True, False, credit
        self.see(told)

    def replace(self, elder: int, newer: int | None) -> None:
        seat = self.seats[elder]
        assert newer in self.seats and newer != elder
        seat.is_replaced = True
        self.remember(seat)
        self.lose(seat)

    def remember(self, seat: Seat) -> None:
        if seat.is_known and not seat.is_leaving:
            peer = seat.peer
            self.formers.setdefault((isinstance(peer, Worker), peer.name), set()).add(peer.incarnation)

    def lose(self, seat: Seat) -> None:
        """All that a worker held is over, but for what is told."""
        held = [delivery for delivery, is_live in seat.held.values() if is_live]
        seat.held.clear()
        for delivery in held:
            self.close_post(delivery)

    @rule(has_memory=st.booleans())
    def memory_changes(self, has_memory: bool) -> None:
        self.desk.probe.set_memory(has_memory)

    @rule(slot=st.integers(0, 7), luck=st.integers(0, 3), unsent=st.integers(0, 7))
    def leave(self, slot: int, luck: int, unsent: int) -> None:
        if not self.seats or luck:
            return
        slot = sorted(self.seats)[slot % len(self.seats)]
        seat = self.seats.pop(slot)
        self.unusable.discard(slot)
        for number, (delivery, is_live) in enumerate(seat.held.values()):
            if unsent >> number & 1:
                self.desk.probe.unsent(slot, delivery.frame or b"")
                if is_live and delivery.kind == "POST":
                    seat.held[delivery.envelope.lease] = delivery, False  # it goes on
        seat.peer.leave()
        if not seat.is_replaced:
            self.remember(seat)
        if isinstance(seat.peer, Node) and not seat.is_replaced:
            self.forget(seat.peer, posts=True)
        self.lose(seat)

    def forget(self, node: Node, posts: bool) -> None:
        """Its node will not be told of them any more."""
        for key, kind in [*self.open.items()]:
            if key[:2] == (node.name, node.incarnation) and (posts or kind == Kind.REQUEST):
                self.close(key)

    @rule(slot=st.integers(0, 7), luck=st.integers(0, 3))
    def goodbye(self, slot: int, luck: int) -> None:
        if not self.seats or luck:
            return
        seat = self.seats[sorted(self.seats)[slot % len(self.seats)]]
        told = seat.peer.goodbye()
        if not seat.is_known or seat.is_replaced:
            assert told.verdict == "DROP"
            return
        seat.is_leaving = True
        if isinstance(seat.peer, Node):
            assert told.kind == "GOODBYE"
            self.forget(seat.peer, posts=False)

    @rule(slot=st.integers(0, 3), credit=st.integers(0, 3))
    def credit(self, slot: int, credit: int) -> None:
        seat = self.some(slot, Worker)
        if seat and isinstance(seat.peer, Worker):
            seat.peer.credit(credit)
            if seat.is_known and not seat.is_replaced:
                seat.credit = credit

    @rule(slot=st.sampled_from([*WORKER_SLOTS]), is_usable=st.booleans())
    def set_usable(self, slot: int, is_usable: bool) -> None:
        if slot in self.seats:
            self.desk.probe.set_usable(slot, is_usable)
            (self.unusable.discard if is_usable else self.unusable.add)(slot)

    # ---- what nodes want ----

    @rule(
        slot=st.integers(0, 3), sequence=sequences, service=services, flags=request_flags, is_post=st.booleans(),
        remaining_ms=st.integers(1, LONGEST_MS), priority=st.integers(0, 2), is_kept=often, is_stale=seldom,
        key_hash=keys,
    )
    def request(
        self, slot: int, sequence: int, service: str, flags: list[int], is_post: bool, remaining_ms: int,
        priority: int, is_kept: bool, is_stale: bool, key_hash: int,
    ) -> None:
        seat = self.some(slot, Node)
        if seat is None:
            return
        node = seat.peer
        assert isinstance(node, Node)
        kind = Kind.POST if is_post else Kind.REQUEST
        key = self.key(node, sequence)
        if key in self.open:
            self.steps()  # it may have expired, without a word, or its node is about to be asked for it
        if not key_hash:
            flags = [flag for flag in flags if flag != Flag.ORDERED]
        told = node.request(
            sequence, service, kind, flags=sum(flags), remaining_ms=remaining_ms, priority=priority,
            incarnation=node.incarnation or 1, conversation=node.conversation ^ is_stale, key_hash=key_hash,
        )
        if seat.is_replaced:
            assert told.verdict == "DROP"
            return
        if is_stale or not seat.is_known or seat.is_leaving:
            assert told.code == "NEED_HELLO"
        elif key in self.awaited:
            assert told.verdict in ("PASS", "KEEP")
            self.awaited.discard(key)
        elif key in self.open:
            assert told.verdict == "DROP"
        elif Flag.RESENT in flags and Flag.NOT_IDEMPOTENT in flags:
            assert told.code == "OUTCOME_UNKNOWN"
        elif self.is_draining:
            assert told.code == "DRAINING"
        else:
            assert told.verdict in ("PASS", "KEEP")
            assert Flag.RESENT not in flags or Flag.NOT_IDEMPOTENT not in flags
            self.open[key] = kind
            if Flag.NOT_IDEMPOTENT in flags:
                self.guarded.add(key)
            self.wanted[key] = service, key_hash
            (self.ordered.add if Flag.ORDERED in flags else self.ordered.discard)(key)
            if told.verdict == "KEEP" and not is_kept:
                told = Told(*self.desk.probe.unkept(told.payload or 0))
                assert told.code == "BUSY"
        self.see(told)

    @rule(slot=st.integers(0, 1), sequence=sequences, service=st.sampled_from(["red", "green"]), key_hash=keys)
    def request_plainly(self, slot: int, sequence: int, service: str, key_hash: int) -> None:
        self.request(slot, sequence, service, [], False, LONGEST_MS, 1, True, False, key_hash)

    @rule(slot=st.integers(0, 1), number=st.integers(0, 3))
    def reply_plainly(self, slot: int, number: int) -> None:
        self.answer(slot, number, "REPLY", True, False)

    @rule(slot=st.integers(0, 3), sequence=sequences)
    def cancel(self, slot: int, sequence: int) -> None:
        seat = self.some(slot, Node)
        if seat is None:
            return
        assert isinstance(seat.peer, Node)
        if not seat.peer.incarnation:
            return
        told = seat.peer.cancel(sequence)
        assert told.verdict == "DROP" or told.code == "CANCELLED" and self.key(seat.peer, sequence) in self.open
        self.see(told)

    # ---- what workers answer ----

    @rule(
        slot=st.integers(0, 3), number=st.integers(0, 7), is_taken=often, is_stale=seldom,
        how=st.sampled_from(["REPLY", "REPLY", "ERROR", "BUSY", "PROGRESS"]),
    )
    def answer(self, slot: int, number: int, how: str, is_taken: bool, is_stale: bool) -> None:
        seat = self.some(slot, Worker, busy=True)
        if seat is None or not seat.held:
            return
        assert isinstance(seat.peer, Worker)
        lease = sorted(seat.held)[number % len(seat.held)]
        delivery, is_live = seat.held[lease]
        if is_stale:
            assert seat.peer.answer(delivery, lease=lease ^ 1 << 40).verdict == "DROP"
            return
        code = {"ERROR": Code.HANDLER_ERROR, "BUSY": Code.BUSY}.get(how, 0)
        told = seat.peer.answer(delivery, Kind.ERROR if code else Kind[how], code=code)
        if how != "PROGRESS":
            del seat.held[lease]
        if told.verdict == "PASS":
            assert is_live, "what was taken away is answered to the node"
            assert delivery.kind == "REQUEST"
            if how != "PROGRESS" or is_taken:
                self.see(told)
            if not is_taken:
                self.undelivered(told, how)
        else:
            assert told.verdict == "DROP"
            if how != "PROGRESS":
                self.close_post(delivery)

    def undelivered(self, passed: Told, how: str) -> None:
        told = Told(*self.desk.probe.undelivered(passed.peer or 0, passed.frame or b""))
        if how == "PROGRESS":
            assert told.verdict == "DROP"
        else:
            assert told.code in ("RESEND", "OUTCOME_UNKNOWN")
            assert told.envelope.sequence == passed.envelope.sequence

    # ---- time ----

    @rule(ms=st.sampled_from([1, 30, 700, 3000]))
    def time_passes(self, ms: int) -> None:
        self.desk.now_ms += ms

    @rule()
    def step_once(self) -> None:
        self.step()

    @rule()
    def step_all(self) -> None:
        self.steps()
        assert len(self.open) <= self.desk.probe.live
        assert (self.desk.probe.due_ms() or 2**62) > self.desk.now_ms
        self.assert_nobody_idle_while_something_waits()

    @precondition(lambda self: not self.is_draining)
    @rule(luck=st.integers(0, 30))
    def drain(self, luck: int) -> None:
        if luck == 0:
            self.desk.probe.drain()
            self.is_draining = True

    def assert_nobody_idle_while_something_waits(self) -> None:
        idle = {slot for slot, seat in self.seats.items() if len(seat.held) < seat.credit} - self.unusable
        for key in self.open.keys() - self.leased.keys():
            service, key_hash = self.wanted[key]
            home = self.home(service, key_hash)
            takers = self.takers(service) if home is None else [home]
            if key in self.ordered and self.is_behind(key):
                continue
            assert not idle & set(takers), f"{idle} idle while {key} waits for {takers}"

    def is_behind(self, key: Key) -> bool:
        held = {self.key_of(delivery) for seat in self.seats.values() for delivery, _ in seat.held.values()}
        return any(self.chain(other) == self.chain(key) for other in held | self.open.keys() - {key})

    @invariant()
    def the_counters_balance(self) -> None:
        self.desk.counts()

    @invariant()
    def what_is_kept_is_known_to_be_kept(self) -> None:
        kept, waiting, used = len(self.desk.probe.payloads), self.desk.probe.waiting, self.desk.probe.used()
        assert waiting <= kept == used["payloads"] <= used["requests"]

    def teardown(self) -> None:
        """Time is over for all that is open, workers answer what they hold, and everybody leaves."""
        self.desk.now_ms += LONGEST_MS
        self.steps()
        assert self.desk.probe.live == 0
        assert self.open == {}, "no outcome was told"
        for seat in self.seats.values():
            for delivery, _ in seat.held.values():
                assert isinstance(seat.peer, Worker) and seat.peer.answer(delivery).verdict == "DROP"
            seat.held.clear()
        self.steps()
        self.desk.assert_nothing_is_left(peers=len(self.seats))
        for seat in self.seats.values():
            seat.peer.leave()
        self.desk.assert_nothing_is_left(peers=0)


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=100)
