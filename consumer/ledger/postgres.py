"""
The ledger on PostgreSQL: how it is reached, and what its sessions are told.

No table is known here. The driver is imported by who connects: no other command needs it.
"""

import sys
from typing import Any

from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from consumer.errors import ConfigError, LedgerUnavailable

COMMAND_TIMEOUT_S = 60
# One statement, by our own watch: a server that is gone must be noticed. Above the server's.
_CONNECT_TIMEOUT_S = 10
_CACHED_STATEMENTS = 200
_SESSION = {
    "application_name": "fal-consumer ledger",
    # 200 means durable, and a claim must outlive the machine: whatever the server's default is.
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Above any statement of ours, and above the longest wait for another writer's turn.
    "statement_timeout": "30s",
    # A worker that stands still with a transaction open holds rows, or the writers' turn:
    # the server ends its session, and the others go on.
    "idle_in_transaction_session_timeout": "10s",
}

_WORDS = {
    "28000": "it does not let this user in",
    "28P01": "it does not take the password",
    "3D000": "there is no such database",
    "42501": "this user may not do that there",
    "53300": "it has no connection left: see max_connections",
    "57P01": "it was shut down",
    "57P02": "it was cut off by another session's crash",
    "57P03": "it is starting up, or stopping",
    "25006": "it takes no writes: a standby?",
}
# Source: PostgreSQL docs, Appendix A, Error Codes.


def open_postgres(url: URL, *, connections: int, read_only: bool, schema: str = "") -> AsyncEngine:
    """
    Return an engine of at most that many sessions; they find their tables in `schema`, if named.

    Readers see one state of the database throughout a transaction. The URL may say all that
    libpq's may (`sslmode`, `sslrootcert`, `host` as the folder of a socket).
    """
    settings = dict(_SESSION)
    if read_only:
        settings["default_transaction_read_only"] = "on"
    if schema:
        settings["search_path"] = schema
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def connect(**_: Any) -> Any:
        return await _connect(dsn, settings)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        pool_timeout=COMMAND_TIMEOUT_S,
        # After a restart of the server the first caller finds a live session, not a dead one.
        pool_pre_ping=True,
        query_cache_size=_CACHED_STATEMENTS,
    )


async def _connect(dsn: str, settings: dict[str, str]) -> Any:
    """Return a session of the driver. Raises LedgerUnavailable, and ConfigError for the URL."""
    import asyncpg  # noqa: PLC0415  heavy, and only for who has its ledger there

    try:
        return await asyncpg.connect(
            dsn,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=_CACHED_STATEMENTS,
            server_settings=settings,
        )
    except (asyncpg.ClientConfigurationError, ValueError) as exc:
        # Its sentence may quote the URL, so only its kind is told.
        raise ConfigError([f"the ledger's URL cannot be used ({type(exc).__name__})"]) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise LedgerUnavailable(words_for(exc)) from None


def driver_errors() -> tuple[type[Exception], ...]:
    """Return what the driver may raise past SQLAlchemy; nothing while it was not imported."""
    asyncpg = sys.modules.get("asyncpg")
    if asyncpg is None:
        return ()
    return (AsyncAdapt_asyncpg_dbapi.Error, asyncpg.PostgresError, asyncpg.InterfaceError)


def words_for(error: BaseException) -> str:
    """Return what an error means for an operator, with its code; never what the server said."""
    code = getattr(error, "sqlstate", None)
    if not isinstance(code, str):
        return type(error).__name__
    return f"{_WORDS[code]}, {code}" if code in _WORDS else code
