"""Agent: what HELLO and READY say of this software, for who reads the wire."""

from __future__ import annotations

from functools import cache

from zproxy.envelope import Tlv, tlvs_pack


@cache
def agent() -> bytes:
    """As a TLV."""
    from zproxy import __version__

    return tlvs_pack({Tlv.AGENT: f"zproxy-python/{__version__}".encode()})
