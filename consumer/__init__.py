"""
The service between fal.ai and your own systems.

Importing this package does nothing but define names; `subscribe` and `Result`
load what they need on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.core.result import Result
    from consumer.subscription import subscribe

__all__ = ["Result", "subscribe"]

_HOMES = {"Result": "consumer.core.result", "subscribe": "consumer.subscription"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
