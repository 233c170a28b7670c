"""Naming: what nodes, masters and services may be called (docs/protocol.md, *The envelope*)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeGuard

NAME_RULE = "1 to 64 of A-Z a-z 0-9 _ . / -"
_NAME = re.compile("[A-Za-z0-9_./-]{1,64}")


def is_name(given: object) -> TypeGuard[str]:
    return isinstance(given, str) and _NAME.fullmatch(given) is not None
