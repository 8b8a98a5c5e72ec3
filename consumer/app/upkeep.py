"""What the `ledger` commands do with the ledger that the settings name."""

import asyncio
from dataclasses import dataclass

from consumer.app.ledgers import ledger_name, ledger_place
from consumer.folder import DataFolder
from consumer.settings import Settings


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration found and left. `before` is empty for a new ledger, None for no change."""

    name: str
    before: str | None
    now: str


async def migrate_ledger(settings: Settings) -> Migrated:
    """
    Bring the ledger's schema to the one that this version knows; twice is harmless.

    Raises ConfigError when it is newer, LedgerUnavailable.
    """
    from consumer.ledger.migration import known_revision, migrate  # noqa: PLC0415  a heavy tool

    place = ledger_place(settings)
    if settings.is_sqlite:
        folder = DataFolder(settings.data_dir)
        folder.make()
        with folder.migrating():
            before = await migrate(place)
    else:
        before = await migrate(place)
    now = await asyncio.to_thread(known_revision)
    return Migrated(ledger_name(settings), before, now)
