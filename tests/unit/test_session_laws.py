"""The node's session under any order of events: what holds whatever the proxy says, and whenever."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.node_talk import INCARNATION, NodeTalk

from zproxy.client.pending import Pending
from zproxy.client.session import GRACE_S, State
from zproxy.envelope import Code, Envelope, Flag, Kind

TIMEOUTS = st.sampled_from([0.01, 0.5, 3.0, 60.0])
PICK = st.integers(0, 9)


class SessionLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.talk = NodeTalk()
        self.made: list[Pending] = []
        self.ends: dict[int, int] = {}
        self.conversations = 0
        self.is_accepted = False

    @initialize()
    def begin(self) -> None:
        self.talk.session.begin("tcp://proxy:1")

    # ---- the caller ----

    @rule(timeout=TIMEOUTS, is_idempotent=st.booleans(), is_attended=st.booleans())
    def request(self, timeout: float, is_idempotent: bool, is_attended: bool) -> None:
        self.made.append(self.talk.request(timeout, idempotent=is_idempotent, attended=is_attended))

    @rule(timeout=TIMEOUTS, is_confirmed=st.booleans())
    def post(self, timeout: float, is_confirmed: bool) -> None:
        self.made.append(self.talk.post(timeout, confirm=is_confirmed))

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        if request := self.picked(pick):
            had_ended = request.has_ended
            assert self.talk.session.cancel(request) == (not had_ended)

    # ---- the socket ----

    @rule()
    def send(self) -> None:
        for envelope in self.talk.take():
            self.check_sent(envelope)

    @rule()
    def lose_the_connection(self) -> None:
        self.is_accepted = False
        self.talk.session.begin("tcp://proxy:1")

    # ---- the proxy ----

    @rule()
    def welcome(self) -> None:
        self.conversations += 1
        self.is_accepted = False
        self.talk.welcome(self.conversations)

    @rule()
    def accept(self) -> None:
        if self.talk.session.state is State.GREETED:
            self.is_accepted = True
        self.talk.accept()

    @rule(pick=PICK, is_stale=st.booleans())
    def reply(self, pick: int, is_stale: bool) -> None:
        if request := self.picked(pick):
            fields = {"conversation": self.talk.conversation + 1000} if is_stale else {}
            self.talk.reply(request, **fields)

    @rule(pick=PICK, code=st.sampled_from(Code))
    def error(self, pick: int, code: Code) -> None:
        if request := self.picked(pick):
            self.talk.error(code, request)

    @rule(pick=PICK)
    def accept_a_post(self, pick: int) -> None:
        if request := self.picked(pick):
            self.talk.hear(Kind.ACCEPTED, incarnation=INCARNATION, sequence=request.sequence)

    @rule(code=st.sampled_from([Code.NAME_IN_USE, Code.DENIED, Code.MALFORMED]), ms=st.sampled_from([0, 20, 3000]))
    def refuse_the_peer(self, code: Code, ms: int) -> None:
        self.talk.error(code, remaining_ms=ms)
        self.is_accepted = self.talk.session.state is State.ACCEPTED

    @rule()
    def drain(self) -> None:
        self.talk.hear(Kind.GOODBYE)

    # ---- time ----

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.4, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.talk.later(seconds)

    # ---- laws ----

    def picked(self, pick: int) -> Pending | None:
        return self.made[-1 - pick] if pick < len(self.made) else None

    def check_sent(self, envelope: Envelope) -> None:
        assert envelope.conversation == self.conversations
        assert envelope.incarnation == INCARNATION
        if envelope.kind not in (Kind.REQUEST, Kind.POST):
            return
        assert self.is_accepted, "a request before ACCEPTED"
        request = self.made[envelope.sequence - 1]
        assert not (request.has_ended and request.kind == Kind.REQUEST), "sent after its end"
        assert 1 <= envelope.remaining_ms <= (request.deadline - self.talk.now) * 1000 + 1
        assert bool(envelope.flags & Flag.RESENT) == (request.copies > 1)

    @invariant()
    def each_request_ends_once(self) -> None:
        for request in self.talk.ended():
            self.ends[request.sequence] = self.ends.get(request.sequence, 0) + 1
            assert request.has_ended
            assert (request.reply is None) != (request.error is None)
        assert all(count == 1 for count in self.ends.values())

    @invariant()
    def each_request_is_counted_by_its_end(self) -> None:
        counts, heard = self.talk.session.counts, [request for request in self.made if request.has_ended]
        heard = [request for request in heard if request.kind == Kind.REQUEST or request.confirm]
        assert counts["requests"] == len(self.made)
        assert counts["replies"] == sum(request.reply is not None for request in heard if request.kind == Kind.REQUEST)
        failed = sum(request.error is not None for request in heard)
        assert counts["errors"] + counts["timeouts"] + counts["cancelled"] == failed

    @invariant()
    def sequences_ascend(self) -> None:
        assert [request.sequence for request in self.made] == list(range(1, len(self.made) + 1))

    @invariant()
    def who_has_no_reader_is_counted(self) -> None:
        is_open = [request for request in self.made if not request.has_ended]
        assert self.talk.session.open_count == len(is_open)
        assert self.talk.session.unattended == sum(not request.attended for request in is_open)

    @invariant()
    def nobody_outlives_the_deadline(self) -> None:
        if self.talk.now >= self.talk.session.next_expiry:
            return
        late = self.talk.now - GRACE_S - 0.02
        assert not [request for request in self.made if not request.has_ended and request.deadline < late]

    def teardown(self) -> None:
        """A session ends all it has, whatever came before."""
        self.talk.later(1e6)
        self.talk.later(1e6)
        self.each_request_ends_once()
        assert all(request.has_ended for request in self.made)
        assert self.talk.session.unattended == self.talk.session.open_count == 0


TestSessionLaws = SessionLaws.TestCase
