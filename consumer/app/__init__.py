"""
The composition root: the only place that knows every part.

`service` opens the parts in order and closes them in reverse; everything below it receives
plain values and ports, never settings. `backends` opens what stores and calls, `work`
joins handlers and sweeps to it, `edges` gives it sockets, `reading` serves commands that
look at a folder beside a running service, `direct` those that ask fal without one. Names
are loaded on first use, for a command that only reads must not wait for the whole service
to be imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.app.checking import CheckRow, check
    from consumer.app.direct import open_direct, open_downloads
    from consumer.app.reading import open_desk, open_ledger, open_log, token_secrets_of
    from consumer.app.service import Service, open_service
    from consumer.app.values import utc_now
    from consumer.simulator import Simulator, SimulatorConfig

__all__ = [
    "CheckRow",
    "Service",
    "Simulator",
    "SimulatorConfig",
    "check",
    "open_desk",
    "open_direct",
    "open_downloads",
    "open_ledger",
    "open_log",
    "open_service",
    "token_secrets_of",
    "utc_now",
]

_HOMES = {
    "CheckRow": "consumer.app.checking",
    "Service": "consumer.app.service",
    "Simulator": "consumer.simulator",
    "SimulatorConfig": "consumer.simulator",
    "check": "consumer.app.checking",
    "open_desk": "consumer.app.reading",
    "open_direct": "consumer.app.direct",
    "open_downloads": "consumer.app.direct",
    "open_ledger": "consumer.app.reading",
    "open_log": "consumer.app.reading",
    "open_service": "consumer.app.service",
    "token_secrets_of": "consumer.app.reading",
    "utc_now": "consumer.app.values",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
