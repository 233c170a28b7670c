"""zproxy: the message proxy between the nodes of a training cluster and their masters."""

from zproxy.errors import (
    AlreadyStarted,
    EndpointError,
    EndpointInUse,
    ForkedProxy,
    InsecureBind,
    NotStarted,
    ProxyStateError,
    RelayStuck,
    SettingError,
    ZproxyError,
)
from zproxy.proxy import Proxy

__all__ = [
    "AlreadyStarted",
    "EndpointError",
    "EndpointInUse",
    "ForkedProxy",
    "InsecureBind",
    "NotStarted",
    "Proxy",
    "ProxyStateError",
    "RelayStuck",
    "SettingError",
    "ZproxyError",
]


def __getattr__(name: str) -> str:
    if name == "__version__":  # importlib.metadata costs more than all the rest of the import
        from importlib.metadata import version

        return version("zproxy")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
