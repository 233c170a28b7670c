"""Services: what a master offers, and how one delivery becomes an outcome in its handler.

Called by Master while services are added and by the crew's threads. Knows no socket and no lease; an outcome is frames
to reply with, or a Failure. Nothing a handler does, raises or returns leaves a delivery without one.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from zproxy.client.delivery import Delivery, Failure, Outcome
from zproxy.client.request import Line, Request
from zproxy.client.worker_session import ANY, cut
from zproxy.content import pack, unpack
from zproxy.envelope import Code
from zproxy.errors import APPLICATION_CODES_FROM, ApplicationError, MalformedContent, RequestCancelled, ServiceError
from zproxy.naming import NAME_RULE, is_name

if TYPE_CHECKING:
    from typing import TypeGuard

logger = logging.getLogger("zproxy.master")

Handler = Callable[[Request], Any]

OFFERS_MAX = 1024
NOT_IDEMPOTENT = 1
APPLICATION_CODES = range(APPLICATION_CODES_FROM, 0x10000)
LEASE_MIN_S, LEASE_MAX_S = 0.1, 86_400.0  # a third of it has to be longer than a busy machine's hiccups
TEXT_BYTES_MAX = 4096  # of an exception's text across the wire; the log has all of it


@dataclass(frozen=True)
class Service:
    name: str
    handler: Handler
    body_type: Any
    is_idempotent: bool
    lease_s: float = 0.0  # 0: none


class Services:
    """Services by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Service] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def add(self, service: Service) -> None:
        """Raises ServiceError."""
        _check_words(service)
        if service.name in self._by_name:
            raise ServiceError(f"service {service.name!r} has a handler already: one master, one handler a service")
        if len(self._by_name) == OFFERS_MAX:
            raise ServiceError(f"service {service.name!r} is one too many: a master offers {OFFERS_MAX} at most")
        _check_handler(service)
        self._by_name[service.name] = service

    def of(self, name: str) -> Service | None:
        return self._by_name.get(name) or self._by_name.get(ANY)

    def offers(self) -> Iterable[tuple[str, int, int]]:
        """What READY says of them: name, lease_ms, flags."""
        for service in self._by_name.values():
            yield service.name, round(service.lease_s * 1000), 0 if service.is_idempotent else NOT_IDEMPOTENT

    @property
    def shortest_lease_s(self) -> float:
        """Infinite where there is none."""
        return min((service.lease_s for service in self._by_name.values() if service.lease_s), default=math.inf)

    def outcome_of(self, delivery: Delivery, line: Line) -> Outcome:
        """Runs the handler. Raises nothing."""
        try:
            return self._outcome_of(delivery, line)
        except BaseException as error:  # of a log's filter, or of an exception's own code: logging may fail again
            return Failure(Code.HANDLER_ERROR, f"{type(error).__name__} while its outcome was made")

    def _outcome_of(self, delivery: Delivery, line: Line) -> Outcome:
        service = self.of(delivery.envelope.service)
        if service is None:
            return Failure(Code.MALFORMED, f"this master offers no service {delivery.envelope.service!r}")
        try:
            content = unpack(delivery.content, delivery.tensors, service.body_type)
        except MalformedContent as error:
            return Failure(Code.MALFORMED, f"its content does not fit: {error}")
        except Exception as error:  # of the body type's own code
            logger.exception("the body of a request to %s could not be made %s", service.name, service.body_type)
            return _handler_error(error)
        request = Request(delivery, content, line)
        try:
            returned = service.handler(request)
        except BaseException as error:  # SystemExit, too: one request does not end a master that serves others
            return _failure_of(error, request, delivery)
        return _packed(returned, request)


def _check_words(service: Service) -> None:
    """Its name, and its options."""
    name = service.name
    if not is_name(name) and name != ANY:
        raise ServiceError(f"bad service {name!r}: {NAME_RULE}, or '*' for any service")
    if not isinstance(service.is_idempotent, bool):
        raise ServiceError(f"bad idempotent {service.is_idempotent!r} of service {name!r}: True or False")
    if service.lease_s and not LEASE_MIN_S <= service.lease_s <= LEASE_MAX_S:
        least, most = LEASE_MIN_S, LEASE_MAX_S
        raise ServiceError(f"bad lease {service.lease_s:g} s of service {name!r}: {least:g} to {most:g} s, or None")
    try:
        msgspec.msgpack.Decoder(service.body_type)
    except TypeError as error:
        raise ServiceError(f"no body of {name!r} can be made {service.body_type}: {error}") from None


def _check_handler(service: Service) -> None:
    """Can it be called with a request? What has no signature, as some of C, is seen when it is called."""
    if not callable(service.handler):
        raise ServiceError(f"the handler of {service.name!r} is no function: {service.handler!r}")
    if inspect.iscoroutinefunction(service.handler):
        raise ServiceError(f"the handler of {service.name!r} is a coroutine function: handlers run in threads")
    try:
        inspect.signature(service.handler).bind(None)
    except TypeError as error:
        raise ServiceError(f"the handler of {service.name!r} does not take one Request: {error}") from None
    except ValueError:
        pass  # it has no signature


def parts_of(returned: Any) -> tuple[Any, Any]:
    """(body, tensors) of what a handler returned.

    A tuple of two whose second is a dict or None is body and tensors; anything else is a body. To send such a tuple as
    a body, return it as a list, or with None behind it.
    """
    if type(returned) is tuple and len(returned) == 2 and (returned[1] is None or isinstance(returned[1], dict)):
        return returned
    return returned, None


def _packed(returned: Any, request: Request) -> Outcome:
    try:
        return pack(*parts_of(returned))
    except Exception as error:
        logger.exception("%s returned what cannot be sent, for %r", request.service, request)
        return _handler_error(error, f"what the handler of {request.service} returned cannot be sent: ")


def _failure_of(error: BaseException, request: Request, delivery: Delivery) -> Failure:
    if isinstance(error, RequestCancelled) and delivery.is_cancelled:
        return Failure(Code.CANCELLED, f"the handler of {request.service} gave up: it was cancelled")
    if _is_of_application(error):
        return Failure(error.code, _text_of(error))
    logger.error("the handler of %s raised, for %r", request.service, request, exc_info=error)
    return _handler_error(error)


def _is_of_application(error: BaseException) -> TypeGuard[ApplicationError]:
    """A code that no envelope can carry is a fault of the handler's like any other."""
    return isinstance(error, ApplicationError) and isinstance(error.code, int) and error.code in APPLICATION_CODES


def _handler_error(error: BaseException, before: str = "") -> Failure:
    kind = _qualified_name(type(error))
    text = cut(before + _text_of(error), TEXT_BYTES_MAX).decode()
    return Failure(Code.HANDLER_ERROR, f"{kind}: {text}", msgspec.msgpack.encode({"type": kind, "text": text}))


def _qualified_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:
        return f"(its text cannot be had: {type(fault).__name__})"
