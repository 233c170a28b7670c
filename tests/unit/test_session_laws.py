"""A node's session under any order of events: what holds whatever two proxies say, and whenever."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.node_talk import INCARNATION, NodeTalk

from zproxy.client.conversation import State
from zproxy.client.pending import Pending
from zproxy.client.session import GRACE_S
from zproxy.envelope import Code, Envelope, Flag, Kind

TIMEOUTS = st.sampled_from([0.01, 0.5, 3.0, 60.0])
PICK = st.integers(0, 9)
WHICH = st.integers(0, 1)


class SessionLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        first = NodeTalk(endpoints=2)
        self.session = first.session
        self.talks = [first, NodeTalk(self.session, which=1)]
        self.made: list[Pending] = []
        self.ends: dict[int, int] = {}
        self.conversations = 0
        self.accepted = [False, False]
        self.lost = [False, False]
        self.stuck: dict[int, int] = {}  # the sequence of what may not run twice, and which proxy has it

    @initialize()
    def begin(self) -> None:
        for talk in self.talks:
            talk.here.begin()

    @property
    def now(self) -> float:
        return self.talks[0].now

    # ---- the caller ----

    @rule(timeout=TIMEOUTS, is_idempotent=st.booleans(), is_attended=st.booleans(), retries=st.sampled_from([None, 0]))
    def request(self, timeout: float, is_idempotent: bool, is_attended: bool, retries: int | None) -> None:
        options = {"idempotent": is_idempotent, "attended": is_attended, "retries": retries}
        self.made.append(self.talks[0].request(timeout, **options))

    @rule(timeout=TIMEOUTS, is_confirmed=st.booleans())
    def post(self, timeout: float, is_confirmed: bool) -> None:
        self.made.append(self.talks[0].post(timeout, confirm=is_confirmed))

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        if request := self.picked(pick):
            had_ended = request.has_ended
            assert self.session.cancel(request) == (not had_ended)

    # ---- the sockets ----

    @rule(which=WHICH)
    def send(self, which: int) -> None:
        for envelope in self.talks[which].take():
            self.check_sent(envelope, which)

    @rule(which=WHICH)
    def open_another_connection(self, which: int) -> None:
        self.accepted[which] = self.lost[which] = False
        self.talks[which].here.begin()

    @rule(which=WHICH)
    def lose_the_connection(self, which: int) -> None:
        self.lost[which] = self.talks[which].here.state is not State.AWAY
        self.talks[which].here.lose()

    # ---- the proxies ----

    @rule(which=WHICH, is_the_same=st.booleans())
    def welcome(self, which: int, is_the_same: bool) -> None:
        """Of its own process, or of one that both endpoints lead to."""
        self.conversations += 1
        self.accepted[which] = self.lost[which] = False
        self.talks[which].welcome(self.conversations, proxy=7 if is_the_same else which + 1)

    @rule(which=WHICH, ms=st.sampled_from([0, 1000, 600_000]))
    def accept(self, which: int, ms: int) -> None:
        if self.talks[which].here.state is State.GREETED:
            self.accepted[which] = True
        self.talks[which].accept(ms=ms)

    @rule(which=WHICH, pick=PICK, is_stale=st.booleans())
    def reply(self, which: int, pick: int, is_stale: bool) -> None:
        if request := self.picked(pick):
            talk = self.talks[which]
            talk.reply(request, **({"conversation": talk.conversation + 1000} if is_stale else {}))

    @rule(which=WHICH, pick=PICK, code=st.sampled_from(Code), ms=st.sampled_from([0, 20, 700]), attempt=WHICH)
    def error(self, which: int, pick: int, code: Code, ms: int, attempt: int) -> None:
        if request := self.picked(pick):
            before = request.sequence
            self.talks[which].error(code, request, remaining_ms=ms, attempt=attempt)
            if code == Code.NEED_HELLO and not request.copies:
                self.stuck.pop(before, None)

    @rule(which=WHICH, pick=PICK)
    def accept_a_post(self, which: int, pick: int) -> None:
        if request := self.picked(pick):
            self.talks[which].hear(Kind.ACCEPTED, incarnation=INCARNATION, sequence=request.sequence)

    @rule(
        which=WHICH,
        code=st.sampled_from([Code.NAME_IN_USE, Code.DENIED, Code.MALFORMED]),
        ms=st.sampled_from([0, 20, 3000]),
    )
    def refuse_the_peer(self, which: int, code: Code, ms: int) -> None:
        self.talks[which].error(code, remaining_ms=ms)
        self.accepted[which] = self.talks[which].here.state is State.ACCEPTED

    @rule(which=WHICH)
    def drain(self, which: int) -> None:
        self.talks[which].hear(Kind.GOODBYE)

    # ---- time ----

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.4, 5.0]))
    def pass_time(self, seconds: float) -> None:
        for talk in self.talks:
            talk.now += seconds
        self.session.tick(self.now)

    # ---- laws ----

    def picked(self, pick: int) -> Pending | None:
        return self.made[-1 - pick] if pick < len(self.made) else None

    def check_sent(self, envelope: Envelope, which: int) -> None:
        assert envelope.conversation == self.talks[which].conversation
        assert envelope.incarnation == INCARNATION
        if envelope.kind not in (Kind.REQUEST, Kind.POST):
            return
        assert self.accepted[which] and not self.lost[which], "a request where nobody takes it"
        [request] = [each for each in self.made if each.sequence == envelope.sequence]
        assert not (request.has_ended and request.kind == Kind.REQUEST), "sent after its end"
        assert 1 <= envelope.remaining_ms <= (request.deadline - self.now) * 1000 + 1
        assert bool(envelope.flags & Flag.RESENT) == (request.copies > 1)
        if request.kind == Kind.POST or not request.is_idempotent:
            assert self.stuck.setdefault(request.sequence, which) == which, "may run twice, and must not"

    @invariant()
    def each_request_ends_once(self) -> None:
        for request in self.talks[0].ended():
            self.ends[id(request)] = self.ends.get(id(request), 0) + 1
            assert request.has_ended
            assert (request.reply is None) != (request.error is None)
        assert all(count == 1 for count in self.ends.values())

    @invariant()
    def each_request_is_counted_by_its_end(self) -> None:
        counts, heard = self.session.counts, [request for request in self.made if request.has_ended]
        heard = [request for request in heard if request.kind == Kind.REQUEST or request.confirm]
        assert counts["requests"] == len(self.made)
        assert counts["replies"] == sum(request.reply is not None for request in heard if request.kind == Kind.REQUEST)
        failed = sum(request.error is not None for request in heard)
        assert counts["errors"] + counts["timeouts"] + counts["cancelled"] == failed

    @invariant()
    def no_sequence_is_used_twice(self) -> None:
        sequences = [request.sequence for request in self.made]
        assert len(set(sequences)) == len(sequences)

    @invariant()
    def what_is_open_is_counted_where_it_is(self) -> None:
        is_open = [request for request in self.made if not request.has_ended]
        assert self.session.open_count == len(is_open)
        assert self.session.unattended == sum(not request.attended for request in is_open)
        for talk in self.talks:
            assert talk.here.open_count == sum(request.conversation is talk.here for request in is_open)

    @invariant()
    def nothing_waits_while_a_proxy_would_take_it(self) -> None:
        if any(talk.here.takes_new for talk in self.talks):
            resting = [request for _, _, request in self.session._resting]
            homeless = [each for each in self.made if each.conversation is None and not each.has_ended]
            assert all(request in resting for request in homeless)

    @invariant()
    def nobody_outlives_the_deadline(self) -> None:
        if self.now >= self.session.next_expiry:
            return
        late = self.now - GRACE_S - 0.02
        assert not [request for request in self.made if not request.has_ended and request.deadline < late]

    def teardown(self) -> None:
        """A session ends all it has, whatever came before."""
        self.pass_time(1e6)
        self.pass_time(1e6)
        self.each_request_ends_once()
        assert all(request.has_ended for request in self.made)
        assert self.session.unattended == self.session.open_count == 0


TestSessionLaws = SessionLaws.TestCase
