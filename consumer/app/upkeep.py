"""What the `ledger` commands do with the ledger that the settings name."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from consumer.app.ledgers import ledger_name, ledger_place
from consumer.app.reading import open_ledger
from consumer.errors import ConfigError
from consumer.folder import DataFolder
from consumer.ports import StampKind
from consumer.settings import Settings, env_name


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


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied where, rows by table, and when the copy was stamped."""

    source: Path
    target: str
    rows: Mapping[str, int]
    stamped_at: datetime


async def copy_ledger(
    settings: Settings, source: Path | None, tell: Callable[[str, int, int], None]
) -> Copied:
    """
    Copy a SQLite ledger, the folder's own unless another is named, to PostgreSQL, and stamp it.

    Nobody may run on the folder. Raises ConfigError, LedgerUnavailable; then nothing is copied.
    """
    from consumer.ledger.copying import copy_ledger as copy  # noqa: PLC0415

    if settings.is_sqlite:
        name = env_name("ledger_url")
        raise ConfigError([f"{name}: sqlite:; expected postgresql://…, where it is copied to"])
    folder = DataFolder(settings.data_dir)
    path = source or folder.ledger
    if not path.is_file():
        raise ConfigError([f"{path} is not there: name the ledger's file with --from"])
    with DataFolder(path.parent).held():
        rows = await copy(path, str(ledger_place(settings)), tell)
        async with open_ledger(settings) as ledger:
            stamped_at = await ledger.stamp(StampKind.COPIED)
    return Copied(path, ledger_name(settings), rows, stamped_at)


async def stamp_restored(settings: Settings) -> datetime:
    """Say that the ledger came from a backup. Raises ConfigError, LedgerUnavailable."""
    if not settings.is_sqlite:
        async with open_ledger(settings) as ledger:
            return await ledger.stamp(StampKind.RESTORED)
    with DataFolder(settings.data_dir).held():
        async with open_ledger(settings) as ledger:
            return await ledger.stamp(StampKind.RESTORED)
