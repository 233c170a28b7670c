"""zproxy: the message proxy between the nodes of a training cluster and their masters."""

from importlib.metadata import version

from zproxy.errors import EndpointError, EndpointInUse, InsecureBind, ZproxyError
from zproxy.proxy import Proxy

__all__ = ["EndpointError", "EndpointInUse", "InsecureBind", "Proxy", "ZproxyError"]
__version__ = version("zproxy")
