"""zproxy: the message proxy between the nodes of a training cluster and their masters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zproxy.errors import (
    AlreadyDone,
    AlreadyStarted,
    ApplicationError,
    Busy,
    Denied,
    Draining,
    EndpointError,
    EndpointInUse,
    Fenced,
    ForkedMaster,
    ForkedNode,
    ForkedProxy,
    HandlerError,
    InsecureBind,
    MalformedContent,
    MalformedRequest,
    MasterStarted,
    NameInUse,
    NodeClosed,
    NotStarted,
    NoWorker,
    OutcomeUnknown,
    PoisonRequest,
    ProxyStateError,
    RelayStuck,
    RequestCancelled,
    RequestError,
    RequestTimeout,
    RetriesExhausted,
    ServiceError,
    SettingError,
    TooLarge,
    UnknownService,
    UnknownWorker,
    Unsendable,
    WorkerLost,
    ZproxyError,
)

if TYPE_CHECKING:
    from zproxy.client.async_node import AsyncNode
    from zproxy.client.master import Master
    from zproxy.client.node import Node
    from zproxy.client.reply import Reply
    from zproxy.client.request import Request
    from zproxy.proxy import Proxy

LATE = {
    "AsyncNode": "zproxy.client.async_node",
    "Master": "zproxy.client.master",
    "Node": "zproxy.client.node",
    "Proxy": "zproxy.proxy",
    "Reply": "zproxy.client.reply",
    "Request": "zproxy.client.request",
}

__all__ = [
    "AlreadyDone",
    "AlreadyStarted",
    "ApplicationError",
    "AsyncNode",
    "Busy",
    "Denied",
    "Draining",
    "EndpointError",
    "EndpointInUse",
    "Fenced",
    "ForkedMaster",
    "ForkedNode",
    "ForkedProxy",
    "HandlerError",
    "InsecureBind",
    "MalformedContent",
    "MalformedRequest",
    "Master",
    "MasterStarted",
    "NameInUse",
    "NoWorker",
    "Node",
    "NodeClosed",
    "NotStarted",
    "OutcomeUnknown",
    "PoisonRequest",
    "Proxy",
    "ProxyStateError",
    "RelayStuck",
    "Reply",
    "Request",
    "RequestCancelled",
    "RequestError",
    "RequestTimeout",
    "RetriesExhausted",
    "ServiceError",
    "SettingError",
    "TooLarge",
    "UnknownService",
    "UnknownWorker",
    "Unsendable",
    "WorkerLost",
    "ZproxyError",
]


def __getattr__(name: str) -> Any:
    """What takes long to import, when it is asked for: every command and every TAB in a shell begins here."""
    if name in LATE:
        return getattr(import_module(LATE[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("zproxy")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
