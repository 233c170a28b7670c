"""Answers: what a master's handlers came to, kept for requests that are delivered again.

Used by the sessions of one master, which share it, and by its crew; all under the crew's lock.

    a delivery ─► `repeat`    its request was answered before: the answer is said again
               └► `join`      its request runs: it is answered with it
               └► `begin`     neither: the handler runs ─► `end`: what it came to is kept, and all of them are answered

A reply may be lost with a connection, and a lease with a beat; the request is then delivered again, perhaps by another
proxy, often while its handler still runs. Run twice it would only cost time here, but much of it.

Rule 1. Of one request one handler runs here at most.
Rule 2. Kept is what a handler returned or raised; not what was given up, or never begun. Who asks for a handler's
        errors to be tried again (RETRY_ERRORS) is not answered with one.
Rule 3. Never more than KEPT_ANSWERS and KEPT_BYTES; the oldest goes first. What a handler goes on holding (an array
        that is sent from where it lies) is kept only where its answer was not sent, and then as a copy.
"""

from __future__ import annotations

from zproxy.client.delivery import Delivery, Failure, Outcome
from zproxy.client.pending import bytes_of
from zproxy.envelope import Code, Flag
from zproxy.errors import APPLICATION_CODES_FROM

KEPT_ANSWERS = 1024  # a proxy delivers again within seconds: at 100 answers a second, ten of them
KEPT_BYTES = 64 << 20

Key = tuple[str, int, int]
"""A request's: node, incarnation, sequence."""


class Answers:
    def __init__(self) -> None:
        self._running: dict[Key, Delivery] = {}
        self._kept: dict[Key, Outcome] = {}
        self._bytes = 0

    def repeat(self, delivery: Delivery) -> Outcome | None:
        """What its request came to before."""
        if not self._kept or delivery.is_post:
            return None
        outcome = self._kept.get(_key_of(delivery))
        if isinstance(outcome, Failure) and delivery.envelope.flags & Flag.RETRY_ERRORS:
            return None
        return outcome

    def join(self, delivery: Delivery) -> bool:
        """Does its request run already? Then it ends with that one."""
        if delivery.is_post:
            return False
        running = self._running.get(_key_of(delivery))
        if running is None:
            return False
        running.joined.append(delivery)
        return True

    def begin(self, delivery: Delivery) -> None:
        """Its handler runs from now on."""
        if not delivery.is_post:
            self._running[_key_of(delivery)] = delivery

    def end(self, delivery: Delivery, outcome: Outcome) -> None:
        """Its handler has come to that: it is answered, with those that joined it."""
        if not delivery.is_post:
            key = _key_of(delivery)
            del self._running[key]
            is_lost = not any(each.session.holds(each) for each in (delivery, *delivery.joined))
            if (kept := _as_kept(outcome, is_lost)) is not None:
                self._keep(key, kept)
        newest = delivery.newest
        for each in (delivery, *delivery.joined)[:-1]:
            _answer_elder(each, outcome)
        if newest is delivery or _is_of_handler(outcome):
            newest.session.answer(newest, outcome)
        else:  # given up, say, just before the newest came
            newest.session.begin_anew(newest)

    def _keep(self, key: Key, outcome: Outcome) -> None:
        self._forget(key)
        self._kept[key] = outcome
        self._bytes += _bytes_of(outcome)
        while len(self._kept) > KEPT_ANSWERS or self._bytes > KEPT_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        outcome = self._kept.pop(key, None)
        if outcome is not None:
            self._bytes -= _bytes_of(outcome)


def _key_of(delivery: Delivery) -> Key:
    envelope = delivery.envelope
    return envelope.name, envelope.incarnation, envelope.sequence


def _answer_elder(delivery: Delivery, outcome: Outcome) -> None:
    """What was taken away counts no more; what another proxy has not is answered there, too."""
    if delivery.is_withdrawn:
        delivery.session.fail(delivery, Code.CANCELLED, "it was delivered again, and is answered there")
    else:
        delivery.session.answer(delivery, outcome)


def _is_of_handler(outcome: Outcome) -> bool:
    """Did a handler run to its end?"""
    if isinstance(outcome, Failure):
        return outcome.code == Code.HANDLER_ERROR or outcome.code >= APPLICATION_CODES_FROM
    return True


def _as_kept(outcome: Outcome, is_lost: bool) -> Outcome | None:
    """None: it is not kept."""
    if isinstance(outcome, Failure):
        return outcome if _is_of_handler(outcome) else None
    if all(type(frame) is bytes for frame in outcome):
        return outcome
    if not is_lost or bytes_of(outcome) > KEPT_BYTES:
        return None
    return [bytes(frame) for frame in outcome]


def _bytes_of(outcome: Outcome) -> int:
    if isinstance(outcome, Failure):
        return len(outcome.sentence) + len(outcome.content)
    return bytes_of(outcome)
