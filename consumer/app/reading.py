"""For commands that look at the log and the ledger, beside a running service or without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from consumer.app.cluster import open_kafka_log
from consumer.app.values import log_limits, plan_of, policies_of, token_secrets, utc_now
from consumer.commanding.desk import Desk, require_service
from consumer.errors import ConfigError
from consumer.folder import DataFolder
from consumer.log.embedded import EmbeddedLog
from consumer.ports import Log
from consumer.settings import Settings

if TYPE_CHECKING:
    from consumer.ledger import Ledger


@asynccontextmanager
async def open_log(settings: Settings, *, create: bool = False) -> AsyncIterator[Log]:
    """
    Open the folder's log, or the one on Kafka, for reading and for commands.

    Raises LogUnavailable and ConfigError.
    """
    if not settings.is_embedded:
        async with open_kafka_log(settings, utc_now) as kafka:
            yield kafka
        return
    folder = DataFolder(settings.data_dir)
    async with EmbeddedLog.open(
        folder.log, clock=utc_now, limits=log_limits(settings), create=create
    ) as log:
        yield log


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator["Ledger"]:
    """
    Open the folder's ledger, or the one on PostgreSQL.

    Raises LedgerUnavailable, and ConfigError where there is none.
    """
    from consumer.app.ledgers import ledger_place  # noqa: PLC0415
    from consumer.ledger import Ledger  # noqa: PLC0415  heavy, and only for those who ask it

    if settings.is_sqlite and not DataFolder(settings.data_dir).ledger.exists():
        raise ConfigError([f"{settings.data_dir} holds no ledger: has `serve` run there?"])
    plan = partial(plan_of, policies_of(settings))
    async with Ledger.open(ledger_place(settings), plan=plan, clock=utc_now) as ledger:
        yield ledger


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """
    Open the folder of a running service, or Kafka and PostgreSQL, for one command.

    Raises NoService where nobody works on the folder.
    """
    is_shared = not settings.is_sqlite and not settings.is_embedded
    folder = None if is_shared else DataFolder(settings.data_dir)
    if folder is not None:
        require_service(folder)
    async with open_log(settings) as log, open_ledger(settings) as ledger:
        yield Desk(log, ledger, folder)


def token_secrets_of(settings: Settings) -> tuple[bytes, ...]:
    """Return the secrets of callback tokens, made where none are. Raises ConfigError."""
    folder = DataFolder(settings.data_dir)
    folder.make()
    return token_secrets(settings, folder)
