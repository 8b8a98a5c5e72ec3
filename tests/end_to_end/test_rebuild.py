"""A ledger built anew from the log is the ledger that it replaces, row by row."""

import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from consumer.app import open_ledger
from consumer.app.ledgers import ledger_place
from consumer.app.rebuilding import GapsFound, rebuild_ledger
from consumer.app.upkeep import copy_ledger, stamp_restored
from consumer.core.event import Topic
from consumer.errors import ConfigError
from consumer.folder import DataFolder
from consumer.ledger.engine import ledger_url, open_engine
from consumer.ledger.tables import PROJECTION, claims, metadata, stamps
from consumer.settings import Settings
from tests.end_to_end.stage import open_stage, until
from tests.ledger_databases import migrated
from tests.ledger_rows import all_rows_of, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_TROUBLES = [
    *("plain", "duplicate", "late", "lost", "reordered", "early", "payload_null", "error_422"),
    *("error_null_payload", "error_infrastructure", "stuck", "huge_seed", "nul_prompt"),
    *("surrogate_prompt", "deep_nesting", "big_body", "unreadable", "other_id", "forged_body"),
    "foreign_account",
]
_PLAYED: list[Settings] = []


async def played(tmp_path_factory) -> Settings:
    """Return the settings of a service that played every trouble once, and stopped."""
    if not _PLAYED:
        folder = tmp_path_factory.mktemp("played")
        choice = {"first_check_s": 0.3, "cancel_queued_after": timedelta(seconds=1)}
        async with open_stage(folder, **choice) as stage:
            for name in _TROUBLES:
                await stage.submit(name, simulate=name)
            await until(lambda: _all_ended(stage))
            await until(lambda: _is_read(stage))
        _PLAYED.append(stage.settings)
    return _PLAYED[0]


async def _all_ended(stage):
    books = list(stage.simulator.books().requests)
    found = [await stage.request(request_id) for request_id in books]
    ended = all(one and one.result and not one.is_open for one in found)
    return ended and len(books) == len(_TROUBLES) and await stage.simulator.wait_idle(0.5)


@pytest.fixture
async def on_sqlite(tmp_path, tmp_path_factory) -> Settings:
    """A copy of the folder in which that service stopped."""
    settings = await played(tmp_path_factory)
    folder = Path(shutil.copytree(settings.data_dir, tmp_path / "data"))
    return settings.model_copy(update={"data_dir": folder})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def stopped(request, on_sqlite):
    """The same with its ledger on either database."""
    if request.param == "sqlite":
        yield on_sqlite
        return
    async with migrated(request.getfixturevalue("postgres")) as url:
        settings = on_sqlite.model_copy(update={"ledger_url": SecretStr(url)})
        await copy_ledger(settings, None, _tell)
        (on_sqlite.data_dir / "ledger.sqlite").unlink()
        yield settings


async def _is_read(stage):
    """Tell whether the group that records has read all there is."""
    spans = await stage.log.offsets([topic for topic in Topic if topic is not Topic.COMMANDS])
    read = await stage.log.committed("record")
    return all(read.get(place, 0) >= span.stop for place, span in spans.items())


def _tell(*_):
    pass


async def _rebuilt(settings, *, despite_gaps=False):
    return await rebuild_ledger(settings, despite_gaps=despite_gaps, tell=_tell)


async def test_a_rebuild_makes_the_same_rows(stopped):
    """Every trouble played, then traffic stopped: all tables are equal, operational ones too."""
    place = ledger_place(stopped)
    before = await all_rows_of(place)

    done = await _rebuilt(stopped)

    after = await all_rows_of(place)
    assert len(before["facts"]) > 3 * len(_TROUBLES)
    assert len(before["deliveries"]) > len(_TROUBLES) / 2
    for table, rows in before.items():
        assert rows == after[table], table
    assert (True, 0, []) == (done.has_kept_operational, done.waiting, done.gaps)


async def test_without_claims_they_are_derived(stopped):
    """The database lost: what the log tells makes a ledger that pays for nothing twice."""
    place = ledger_place(stopped)
    before = await rows_of(place, (*PROJECTION, claims))
    await _forget(place)

    done = await _rebuilt(stopped)

    assert not done.has_kept_operational
    after = await rows_of(place, (*PROJECTION, claims, stamps))
    assert ["rebuilt"] == [row[0] for row in after.pop("stamps")]
    kept, derived = before.pop("claims"), after.pop("claims")
    assert before == after
    # Kind, key, revision and fingerprint: the same claims as were made when it all happened.
    assert [row[:4] for row in kept] == [row[:4] for row in derived]
    assert {True} == {row[-1] for row in derived}


async def test_the_head_of_a_topic_gone_is_named_and_refused(stopped):
    """A rebuild would forget what is not in the log any more: it says so, and changes nothing."""
    place = ledger_place(stopped)
    before = await all_rows_of(place)
    with sqlite3.connect(next((stopped.data_dir / "log").glob("log-*.sqlite"))) as file:
        (last,) = file.execute('SELECT min(last_offset) FROM "lifecycle"').fetchone()
        file.execute('DELETE FROM "lifecycle" WHERE last_offset = ?', (last,))

    with pytest.raises(GapsFound, match=rf"lifecycle/1 begins at {last + 1}"):
        await _rebuilt(stopped)
    assert before == await all_rows_of(place)

    done = await _rebuilt(stopped, despite_gaps=True)
    assert 1 == len(done.gaps)
    after = await rows_of(place)
    assert any(len(after[name]) < len(before[name]) for name in ("facts", "key_sets"))


async def test_a_file_is_copied_to_postgresql_whole(on_sqlite, postgres):
    """Every row arrives; a file in use is refused, and so is a database that holds something."""
    before = await all_rows_of(ledger_place(on_sqlite))
    async with migrated(postgres) as url:
        target = on_sqlite.model_copy(update={"ledger_url": SecretStr(url)})
        with DataFolder(on_sqlite.data_dir).held(), pytest.raises(ConfigError, match="is in use"):
            await copy_ledger(target, None, _tell)

        done = await copy_ledger(target, None, _tell)

        assert before == await all_rows_of(url)
        assert sum(map(len, before.values())) == sum(done.rows.values())
        stamped = (await rows_of(url, (stamps,)))["stamps"]
        assert ["copied"] == [row[0] for row in stamped]
        with pytest.raises(ConfigError, match="the target is not empty"):
            await copy_ledger(target, None, _tell)


async def test_a_restored_ledger_is_stamped(stopped):
    """The stamp is there for whoever opens it next."""
    at = await stamp_restored(stopped)

    async with open_ledger(stopped) as ledger:
        assert at == await ledger.stamped_at()


async def _forget(place):
    """Lose every table's rows, as a database that was made anew."""
    engine = open_engine(ledger_url(place), connections=1)
    async with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(delete(table))
    await engine.dispose()
