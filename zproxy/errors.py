"""Errors: one small tree; every message names the thing, the limit and what to do."""


class ZproxyError(Exception):
    """Root of all errors zproxy raises."""


class EndpointError(ZproxyError):
    """An endpoint cannot be parsed, resolved or bound."""


class EndpointInUse(EndpointError):
    """Somebody else listens there."""


class InsecureBind(EndpointError):
    """A bind that is not loopback, without `insecure`."""
