"""The ledger, as the settings name it: a file in the data folder, or a database of PostgreSQL."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from consumer.app.opening import Opening
from consumer.app.values import plan_of, policies_of
from consumer.errors import ConfigError, LedgerUnavailable, LogUnavailable
from consumer.folder import DataFolder
from consumer.handlers.record import RecordEvents
from consumer.ledger import Ledger
from consumer.ledger.engine import with_password
from consumer.ledger.migration import migrate
from consumer.ports import Log, RequestFilter
from consumer.settings import Role, Settings, env_name
from consumer.sweeps.usual import Learned
from consumer.telemetry import get_logger

_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def ledger_place(settings: Settings) -> str | Path:
    """
    Return where the ledger is: the path of the folder's file, or a URL with its password.

    Raises ConfigError for a file that holds no password.
    """
    if settings.is_sqlite:
        return DataFolder(settings.data_dir).ledger
    url = settings.ledger_url.get_secret_value()
    if settings.ledger_password_file is None:
        return url
    name = env_name("ledger_password_file")
    try:
        password = settings.ledger_password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{name}: the file cannot be read ({type(exc).__name__})"]) from exc
    if not password:
        raise ConfigError([f"{name}: the file holds no password"])
    return with_password(url, password)


def ledger_name(settings: Settings) -> str:
    """Return the same for people: no user, no password."""
    return str(ledger_place(settings)) if settings.is_sqlite else settings.shown("ledger_url")


async def open_own_ledger(opening: Opening, learned: Learned) -> tuple[Ledger, bool]:
    """
    Return the ledger of a process that works, and whether nothing is in it yet.

    SQLite is migrated on the way. Raises LedgerUnavailable; ConfigError where the schema on
    PostgreSQL is not the one that this version knows.
    """
    settings, folder = opening.settings, opening.folder
    plan = partial(plan_of, policies_of(settings), learned=learned)
    old = None
    try:
        if settings.is_sqlite:
            with folder.migrating():
                old = await migrate(folder.ledger)
        ledger = await opening.stack.enter_async_context(
            Ledger.open(ledger_place(settings), plan=plan, clock=opening.clock)
        )
        if settings.is_sqlite and opening.role is Role.SERVE:
            # The folder's lock is ours alone: whoever held a lease is dead.
            await ledger.release_leases()
        is_new = old == "" if settings.is_sqlite else not await _holds_requests(ledger)
    except LedgerUnavailable as exc:
        advice = ""
        if exc.problem in _DAMAGED:
            advice = ": put back a copy of it, or move it away to begin with an empty one"
        problem = f"{ledger_name(settings)} cannot be used ({exc.problem}){advice}"
        raise LedgerUnavailable(problem) from exc
    if old:
        get_logger().info("ledger.migrated", old=old)
    return ledger, is_new


async def has_recorded(log: Log) -> bool:
    """Tell whether an earlier ledger took records in; False while nobody can say."""
    with suppress(LogUnavailable):
        return bool(await log.committed(RecordEvents.name))
    return False


async def _holds_requests(ledger: Ledger) -> bool:
    return bool(await ledger.requests(RequestFilter(limit=1)))
