"""Errors: one small tree; every message names the thing, the limit and what to do."""


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


class ForkedProxy(ProxyStateError):
    """It was made before a fork and belongs to the parent process."""


class RelayStuck(ZproxyError):
    """The relay's thread does not answer, or does not end: a fault of zproxy's own."""


class ControlError(ZproxyError):
    """A control socket where no proxy is that would answer us."""


class ControlFailed(ControlError):
    """Somebody is there and does not answer, or answers with an error."""


class LibzmqMissing(ZproxyError):
    """pyzmq's libzmq, or a function of it, is not to be found."""


class LoadError(ZproxyError):
    """Load could not be put through a proxy, or came back wrong."""


class NoAnswer(LoadError):
    """Nothing came back in time."""


class WrongReply(LoadError):
    """A reply is not what the worker was sent: a benchmark over it would mean nothing."""


class MalformedEnvelope(ZproxyError, ValueError):
    """A frame is no envelope of the protocol."""
