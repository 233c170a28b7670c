"""Errors: one small tree; every message names the thing, the limit and what to do.

`OUTCOMES` is the one place in Python where a code of the protocol becomes a class, a sentence and a remedy; the codes'
numbers are zproxy.envelope's. Imported by everybody, imports nothing of zproxy before an error is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


def one_line(text: str) -> str:
    """Text that others may have chosen, so that it stays in its line and in its order: what cannot be printed is
    escaped.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class ZproxyError(Exception):
    """Root of all errors zproxy raises."""


class SettingError(ZproxyError, ValueError):
    """A setting has a value that it cannot have."""


class EndpointError(ZproxyError, ValueError):
    """An endpoint cannot be parsed, resolved, bound or connected to."""


class EndpointInUse(EndpointError):
    """Somebody else listens there."""


class InsecureBind(EndpointError):
    """A bind that is not loopback, without `insecure`."""


class ProxyStateError(ZproxyError, RuntimeError):
    """A Proxy was asked for something that its state does not allow."""


class AlreadyStarted(ProxyStateError):
    """It was started or stopped before: each Proxy runs once."""


class NotStarted(ProxyStateError):
    """It was not started yet."""


class UnknownWorker(ZproxyError, LookupError):
    """No worker of this name is there."""


class ForkedProxy(ProxyStateError):
    """It was made before a fork and belongs to the parent process."""


class RelayStuck(ZproxyError):
    """The relay's thread does not answer, or does not end: a fault of zproxy's own."""


class ControlError(ZproxyError):
    """A control socket where no proxy is that would answer us."""


class ControlFailed(ControlError):
    """Somebody is there and does not answer, or answers with an error."""


class ControlRefused(ControlError):
    """The proxy cannot do what it was asked for: the asker has to ask for something else."""


class LibzmqMissing(ZproxyError):
    """pyzmq's libzmq, or a function of it, is not to be found."""


class CurveMissing(ZproxyError):
    """pyzmq brings no libsodium, which CURVE needs."""


class LoadError(ZproxyError):
    """Load could not be put through a proxy, or came back wrong."""


class NoAnswer(LoadError):
    """Nothing came back in time."""


class WrongReply(LoadError):
    """A reply is not what the worker was sent: a benchmark over it would mean nothing."""


class MalformedEnvelope(ZproxyError, ValueError):
    """A frame is no envelope of the protocol."""


class ContentError(ZproxyError):
    """A body or tensor, and where in it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.reason}")


class Unsendable(ContentError, TypeError):
    """No message can carry it: nothing was sent."""


class MalformedContent(ContentError, ValueError):
    """What came is not as the protocol has it, or not of the type that was asked for."""


# ---- a Node or Master in a state that does not allow what it was asked for ----


class PeerStateError(ZproxyError, RuntimeError):
    """A Node or Master was asked for something that its state does not allow."""


class NodeClosed(PeerStateError):
    """It was closed; what was open then has no outcome."""


class ForkedNode(PeerStateError):
    """It was made before a fork and belongs to the parent process: make one in the child."""


class ForkedMaster(PeerStateError):
    """It was made before a fork and belongs to the parent process: make one in the child."""


class MasterStarted(PeerStateError):
    """Its services are fixed, and each Master runs once."""


class ServiceError(ZproxyError, ValueError):
    """A service cannot be offered as it was said, or there is none."""


# ---- how a request ends, if not in a reply ----


class RequestError(ZproxyError):
    """A request ended without a reply, or its peer was refused.

    `code` is one of zproxy.envelope.Code, or the application's own. `worker` is "" where none had it; `attempt` is how
    many deliveries were made, 0: it was surely never begun, -1: it was sent, and nobody can say. `retry_after` is in
    seconds, 0.0: nothing was said. `detail` is the map that came with the code, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        service: str = "",
        node: str = "",
        worker: str = "",
        attempt: int = 0,
        retry_after: float = 0.0,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.service = service
        self.node = node
        self.worker = worker
        self.attempt = attempt
        self.retry_after = retry_after
        self.detail = detail


class MalformedRequest(RequestError):
    """The other side cannot read it, or its body does not fit the handler."""


class NameInUse(RequestError):
    """Another living peer has this name."""


class Fenced(RequestError):
    """A successor has this peer's name."""


class Denied(RequestError):
    """无权访问: this node may not use this service, or not have this name."""


class NoWorker(RequestError):
    """No worker could take it until its deadline."""


class UnknownService(NoWorker):
    """No worker ever offered the service."""


class Busy(RequestError):
    """Budgets are full; `retry_after` says when a new try is welcome."""


class RequestTimeout(RequestError, TimeoutError):
    """The deadline came before a reply."""


class WorkerLost(RequestError):
    """Its worker is gone, and it may not be delivered again."""


class RetriesExhausted(RequestError):
    """消息发送失败: it was delivered as often as allowed."""


class PoisonRequest(RequestError):
    """Every worker that had it died."""


class TooLarge(RequestError):
    """It is larger than a limit."""


class Draining(RequestError):
    """The proxy stops."""


class HandlerError(RequestError):
    """The handler raised; `type` and `text` are its exception's."""

    @property
    def type(self) -> str:
        return str((self.detail or {}).get("type", ""))

    @property
    def text(self) -> str:
        return str((self.detail or {}).get("text", ""))


class RequestCancelled(RequestError):
    """The node cancelled it."""


class AlreadyDone(RequestError):
    """It had an outcome before, which is kept no longer."""


class OutcomeUnknown(RequestError):
    """It may have run, and nobody remembers."""


class ApplicationError(RequestError):
    """An error of the application's own, with a code from 0x8000 on."""


class Outcome(NamedTuple):
    """What a code of the protocol is in Python, and in words: what happened, what to do.

    Where the other side said what happened, its sentence stands for the one here, or after it if that `leads`.
    """

    kind: type[RequestError]
    sentence: str
    remedy: str
    leads: bool = False


APPLICATION_CODES_FROM = 0x8000

# By the names of zproxy.envelope.Code. What is open (the SDK sends it again by itself) reaches nobody but as a fault.
OUTCOMES: dict[str, Outcome] = {
    "MALFORMED": Outcome(
        MalformedRequest, "the request is malformed", "see which field is meant, and the versions of both ends"
    ),
    "NEED_HELLO": Outcome(
        RequestError, "it was sent outside a conversation", "say HELLO after WELCOME, then send it again"
    ),
    "NAME_IN_USE": Outcome(
        NameInUse, "another living peer has this name", "choose another name, or stop the other one"
    ),
    "FENCED": Outcome(
        Fenced, "a successor has taken this name", "stop this one, or start it anew under another name"
    ),
    "DENIED": Outcome(Denied, "无权访问 (access denied)", "ask the operator for access", leads=True),
    "UNKNOWN_SERVICE": Outcome(
        UnknownService, "no worker has ever offered this service", "check its name, and whether its master runs"
    ),
    "NO_WORKER": Outcome(
        NoWorker, "no worker could take it until the deadline", "start workers, or allow more time with timeout="
    ),
    "BUSY": Outcome(Busy, "the budgets are full", "try again later, or start workers"),
    "TIMEOUT": Outcome(
        RequestTimeout, "the deadline came before a reply", "allow more time with timeout=, or start workers"
    ),
    "WORKER_LOST": Outcome(
        WorkerLost,
        "its worker is gone, and it may not be delivered again",
        "find out whether it took effect before sending a new one; idempotent services are delivered again",
    ),
    "RETRIES_EXHAUSTED": Outcome(
        RetriesExhausted,
        "消息发送失败 (all attempts failed)",
        "see the workers' logs, or allow more attempts",
        leads=True,
    ),
    "POISON": Outcome(
        PoisonRequest, "every worker that had it died", "do not send it again before the handler is mended"
    ),
    "TOO_LARGE": Outcome(TooLarge, "it is larger than a limit", "raise that limit, or send less at once"),
    "DRAINING": Outcome(Draining, "the proxy is stopping", "connect to another one, or try again later"),
    "HANDLER_ERROR": Outcome(HandlerError, "the handler raised", "see the worker's log", leads=True),
    "CANCELLED": Outcome(RequestCancelled, "it was cancelled", "send a new one if it is still wanted"),
    "ALREADY_DONE": Outcome(
        AlreadyDone, "it had an outcome before, which is kept no longer", "do not send it again: it has run"
    ),
    "OUTCOME_UNKNOWN": Outcome(
        OutcomeUnknown,
        "it may have run, and nobody remembers its outcome",
        "find out whether it took effect before sending a new one",
    ),
    "RESEND": Outcome(RequestError, "the proxy has not kept what it needs", "send it again under the same sequence"),
    "NOT_SHARED": Outcome(RequestError, "no worker shares memory", "send it again without shared memory"),
    "CODE_YOURS": Outcome(
        ApplicationError, "the application's own error", "see what it means by this code", leads=True
    ),
}

# A sentence of the other side that ends in advice needs none of ours. Whoever writes one says it as zproxy does, behind
# the last semicolon or colon; where these words are not found, two remedies do less harm than none.
_ADVICE = re.compile(
    "[;:] (ask|check|choose|connect|end|give|join|look|make|nodes connect|raise|say|see|send|start|stop|try|"
    r"workers connect)\b"
)
_LATER = re.compile("try again(?: later)?")

_UNKNOWN = Outcome(
    RequestError, "a code that this version does not know", "use the proxy's version here, too", leads=True
)


def outcome_of(code: int) -> Outcome:
    """The row of a code as it came."""
    from zproxy.envelope import Code  # which imports this module

    if code >= APPLICATION_CODES_FROM:
        return OUTCOMES["CODE_YOURS"]
    return next((OUTCOMES[known.name] for known in Code if known == code), _UNKNOWN)


def error_of(
    code: int,
    *,
    service: str,
    node: str,
    worker: str = "",
    attempt: int = 0,
    sentence: str = "",
    retry_after_ms: int = 0,
    detail: Mapping[str, object] | None = None,
    remedy: str = "",
) -> RequestError:
    """The exception for a request, or peer (`service` ""), that ended so.

    `sentence` is what the other side said, `detail` the map that came with the code; `remedy` is better than the
    code's own, which is left out where the sentence ends in advice itself.
    """
    outcome = outcome_of(code)
    if outcome.leads and sentence.startswith(outcome.sentence.partition(" (")[0]):
        outcome = outcome._replace(leads=False)  # it says so itself
    if remedy or not outcome.leads and _ADVICE.search(sentence):
        outcome = outcome._replace(remedy=remedy)
    error = outcome.kind(
        "",
        code=code,
        service=service,
        node=node,
        worker=worker,
        attempt=attempt,
        retry_after=retry_after_ms / 1000,
        detail=detail,
    )
    error.args = (_message(error, outcome, sentence),)
    return error


def _message(error: RequestError, outcome: Outcome, said: str) -> str:
    """`request of "rank7" to "gradients": what happened; who had it (what to do, when to try again)`."""
    what = f'request of "{error.node}" to "{error.service}"' if error.service else f'peer "{error.node}"'
    happened = _happened(error, outcome, said)
    if error.attempt > 0:
        at = f' "{error.worker}"' if error.worker else ""
        happened += "; " if at and at in happened else f"; worker{at} had it, "
        happened += f"attempt {error.attempt}"
    text = f"{what}: {happened} ({outcome.remedy})" if outcome.remedy else f"{what}: {happened}"
    if not error.retry_after:
        return text
    when = f"try again after {error.retry_after:g} s"
    is_ours = not outcome.leads and _LATER.search(text)  # not a handler's words
    return _LATER.sub(when, text, count=1) if is_ours else f"{text}; {when}"


def _happened(error: RequestError, outcome: Outcome, said: str) -> str:
    """In one sentence, which never says the same thing twice."""
    if isinstance(error, HandlerError) and error.type:
        raised = f"{outcome.sentence} {error.type}: {error.text}"
        return raised if said in raised else f"{raised}: {said}"
    if said and not outcome.leads:
        return said
    happened = outcome.sentence
    if outcome.kind in (ApplicationError, RequestError):
        happened += f", code {error.code:#06x}"
    return f"{happened}: {said}" if said else happened
