"""The broker under anything that may happen, against a list of what is open and who holds what.

Laws: one outcome for each accepted request; nothing goes to a peer that is gone, or in another conversation; no worker
holds more than it may; what is kept is sent or spent; the counters balance after every step; when all is over, nothing
is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.brokers import Code, Desk, Flag, Kind, Node, Told, Worker

NODE_SLOTS = range(1, 5)
WORKER_SLOTS = range(101, 105)
LONGEST_MS = 5000

names = st.sampled_from(["a", "b", "c"])
incarnations = st.integers(1, 3)
sequences = st.integers(1, 8)
services = st.sampled_from(["red", "green", "blue"])
offers = st.lists(st.sampled_from(["red", "green", "*"]), max_size=3)
request_flags = st.lists(
    st.sampled_from([Flag.RESENT, Flag.WANTS_PROGRESS, Flag.WANTS_ACCEPTED, Flag.NOT_IDEMPOTENT]),
    max_size=2,
    unique=True,
)
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
        self.unusable: set[int] = set()
        self.is_draining = False

    @initialize(no_worker_wait_ms=st.sampled_from([0, 0, 700]))
    def begin(self, no_worker_wait_ms: int) -> None:
        self.desk = Desk(no_worker_wait_ms)

    # ---- what is told ----

    def key(self, node: Node, sequence: int) -> Key:
        return node.name, node.incarnation, sequence

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
            assert seat.is_known and not seat.is_leaving and told.peer not in self.unusable
            seat.held[lease] = told, True
            assert len(seat.held) <= seat.credit, "more than the credit"
            assert 1 <= told.envelope.remaining_ms <= LONGEST_MS
        elif told.kind == "CANCEL":
            delivery, is_live = seat.held[lease]
            assert is_live, "cancelled twice"
            assert delivery.envelope.sequence == told.envelope.sequence
            seat.held[lease] = delivery, False

    def see_node(self, node: Node, told: Told) -> None:
        if told.kind not in ("REPLY", "ERROR") or told.envelope.sequence == 0:
            return
        if told.code in ("NEED_HELLO", "DRAINING", "OUTCOME_UNKNOWN", "MALFORMED") and told.verdict == "SAY":
            return  # of what was not accepted, unless its rule says otherwise
        key = self.key(node, told.envelope.sequence)
        assert key in self.open, f"a second outcome, or one of nothing: {told}"
        del self.open[key]

    def step(self) -> bool:
        step = self.desk.probe.step(self.desk.now_ms)
        if step is None:
            return False
        told = Told(*step)
        if told.code == "DRAINING" and told.peer in self.seats:
            self.open.pop(self.key(self.seats[told.peer].peer, told.envelope.sequence))  # type: ignore[arg-type]
        if told.kind == "GOODBYE" and told.peer in self.seats:
            seat = self.seats[told.peer]
            assert not (seat.is_leaving and seat.held), "GOODBYE before all is settled"
        self.see(told)
        return True

    def steps(self) -> None:
        while self.step():
            pass

    # ---- who is there ----

    @rule(slot=st.sampled_from([*NODE_SLOTS]))
    def connect_node(self, slot: int) -> None:
        if slot not in self.seats:
            self.seats[slot] = Seat(self.desk.connect_node(slot))

    @rule(slot=st.sampled_from([*WORKER_SLOTS]))
    def connect_worker(self, slot: int) -> None:
        if slot not in self.seats:
            self.seats[slot] = Seat(self.desk.connect_worker(slot))

    def some(self, slot: int, role: type[Node] | type[Worker]) -> Seat | None:
        """Of the connected ones, one that the number picks."""
        seats = [seat for _, seat in sorted(self.seats.items()) if isinstance(seat.peer, role)]
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
        if seat.is_replaced:
            assert told.verdict == "DROP"
        elif seat.is_known and (peer.name, peer.incarnation) != (name, incarnation):
            assert told.code == "MALFORMED"
        elif holder and holder is not seat and holder.peer.incarnation != incarnation:
            assert told.code == "NAME_IN_USE"
        else:
            assert told.kind == "ACCEPTED"
            assert told.closing == (holder.peer.slot if holder and holder is not seat else None)
            return True
        return False

    @rule(slot=st.integers(0, 3), name=names, incarnation=incarnations)
    def hello(self, slot: int, name: str, incarnation: int) -> None:
        seat = self.some(slot, Node)
        if seat is None:
            return
        told = seat.peer.say(Kind.HELLO, name=name, incarnation=incarnation)
        if self.greet(seat, told, name, incarnation):
            seat.peer.name, seat.peer.incarnation = name, incarnation
            seat.is_known, seat.is_leaving = True, False
        self.see(told)

    @rule(slot=st.integers(0, 3), name=names, incarnation=incarnations, services=offers, credit=st.integers(0, 3))
    def ready(self, slot: int, name: str, incarnation: int, services: list[str], credit: int) -> None:
        seat = self.some(slot, Worker)
        if seat is None:
            return
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
        seat.is_replaced = True
        seat.held.clear()
        assert newer in self.seats and newer != elder

    @rule(slot=st.integers(0, 7))
    def leave(self, slot: int) -> None:
        if not self.seats:
            return
        slot = sorted(self.seats)[slot % len(self.seats)]
        seat = self.seats.pop(slot)
        self.unusable.discard(slot)
        seat.peer.leave()
        if isinstance(seat.peer, Node) and not seat.is_replaced:
            self.forget(seat.peer, posts=True)

    def forget(self, node: Node, posts: bool) -> None:
        """Its node will not be told of them any more."""
        gone = [
            key
            for key, kind in self.open.items()
            if key[:2] == (node.name, node.incarnation) and (posts or kind == Kind.REQUEST)
        ]
        for key in gone:
            del self.open[key]

    @rule(slot=st.integers(0, 7))
    def goodbye(self, slot: int) -> None:
        if not self.seats:
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
        remaining_ms=st.integers(1, LONGEST_MS), priority=st.integers(0, 2), is_kept=st.integers(0, 5).map(bool),
        is_stale=st.integers(0, 9).map(lambda number: number == 0),
    )
    def request(
        self, slot: int, sequence: int, service: str, flags: list[int], is_post: bool, remaining_ms: int,
        priority: int, is_kept: bool, is_stale: bool,
    ) -> None:
        seat = self.some(slot, Node)
        if seat is None:
            return
        node = seat.peer
        assert isinstance(node, Node)
        kind = Kind.POST if is_post else Kind.REQUEST
        told = node.request(
            sequence, service, kind, flags=sum(flags), remaining_ms=remaining_ms, priority=priority,
            incarnation=node.incarnation or 1, conversation=node.conversation ^ is_stale,
        )
        key = self.key(node, sequence)
        if seat.is_replaced:
            assert told.verdict == "DROP"
            return
        if is_stale or not seat.is_known or seat.is_leaving:
            assert told.code == "NEED_HELLO"
        elif key in self.open:
            assert told.verdict == "DROP"
        elif Flag.RESENT in flags and Flag.NOT_IDEMPOTENT in flags:
            assert told.code == "OUTCOME_UNKNOWN"
        elif self.is_draining:
            assert told.code == "DRAINING"
        else:
            assert told.verdict in ("PASS", "KEEP")
            self.open[key] = kind
            if told.verdict == "KEEP" and not is_kept:
                told = Told(*self.desk.probe.unkept(told.request or 0))
                assert told.code == "BUSY"
        self.see(told)

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
        slot=st.integers(0, 3), number=st.integers(0, 7), how=st.sampled_from(["REPLY", "REPLY", "ERROR", "PROGRESS"]),
        is_taken=st.integers(0, 5).map(bool), is_stale=st.integers(0, 9).map(lambda number: number == 0),
    )
    def answer(self, slot: int, number: int, how: str, is_taken: bool, is_stale: bool) -> None:
        seat = self.some(slot, Worker)
        if seat is None or not seat.held:
            return
        assert isinstance(seat.peer, Worker)
        lease = sorted(seat.held)[number % len(seat.held)]
        delivery, is_live = seat.held[lease]
        if is_stale:
            assert seat.peer.answer(delivery, lease=lease ^ 1 << 40).verdict == "DROP"
            return
        kind = Kind[how]
        told = seat.peer.answer(delivery, kind, code=Code.HANDLER_ERROR if how == "ERROR" else 0)
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
            if delivery.kind == "POST" and how != "PROGRESS":
                self.post_over(delivery)

    def undelivered(self, passed: Told, how: str) -> None:
        told = Told(*self.desk.probe.undelivered(passed.peer or 0, passed.frame or b""))
        if how == "PROGRESS":
            assert told.verdict == "DROP"
        else:
            assert told.code in ("RESEND", "OUTCOME_UNKNOWN")
            assert told.envelope.sequence == passed.envelope.sequence

    def post_over(self, delivery: Told) -> None:
        """Settled, or about to be once ACCEPTED is said: in both cases nothing of it is told any more."""
        self.steps()
        given = delivery.envelope
        self.open.pop((given.name, given.incarnation, given.sequence), None)

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
        self.forget_silent_posts()
        assert (self.desk.probe.due_ms() or 2**62) > self.desk.now_ms
        self.assert_nobody_idle_while_something_waits()

    @precondition(lambda self: not self.is_draining)
    @rule(luck=st.integers(0, 30))
    def drain(self, luck: int) -> None:
        if luck == 0:
            self.desk.probe.drain()
            self.is_draining = True

    def forget_silent_posts(self) -> None:
        """Posts that a worker had end without a word: the model asks the broker which are open."""
        if any(kind == Kind.POST for kind in self.open.values()):
            return
        assert len(self.open) <= self.desk.probe.live

    def assert_nobody_idle_while_something_waits(self) -> None:
        rows, _, pairs = self.desk.probe.rows()
        named = {service for _, service in pairs}
        for row in rows:
            if not row["waiting"]:
                continue
            for slot, service in pairs:
                takes = service == row["name"] or service == "*" and row["name"] not in named
                seat = self.seats[slot]
                assert not takes or slot in self.unusable or len(seat.held) >= seat.credit, f"{slot} idles: {row}"

    @invariant()
    def the_counters_balance(self) -> None:
        self.desk.counts()
        assert self.desk.probe.waiting == len(self.desk.probe.payloads) - self.spent_to_come()

    def spent_to_come(self) -> int:
        """Payloads of what ended with its node: the next steps give them up."""
        return len(self.desk.probe.payloads) - self.desk.probe.waiting if self.desk.probe.used()["errands"] else 0

    def teardown(self) -> None:
        """Time is over for all that is open, workers answer what they hold, and everybody leaves."""
        self.desk.now_ms += LONGEST_MS
        self.steps()
        assert self.desk.probe.live == 0
        assert [key for key, kind in self.open.items() if kind == Kind.REQUEST] == [], "no outcome was told"
        for seat in self.seats.values():
            for delivery, _ in seat.held.values():
                assert isinstance(seat.peer, Worker) and seat.peer.answer(delivery).verdict == "DROP"
        self.steps()
        self.desk.assert_nothing_is_left(peers=len(self.seats))
        for seat in self.seats.values():
            seat.peer.leave()
        self.desk.assert_nothing_is_left(peers=0)


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=80)
