"""PostgreSQL of the tests: there soon, with its data after any end, and gone afterwards."""

import os
import shutil
import signal

import asyncpg
import pytest

from consumer.devservers import ServerNotStarted, open_postgres, use_shared_postgres
from consumer.errors import InvariantBroken


async def ask(url, question, *arguments):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question, *arguments)
    finally:
        await connection.close()


async def test_each_test_has_a_database_of_its_own(postgres, database):
    """A fresh database is empty; one made from it has what was in it, and is gone afterwards."""
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert 0 == await ask(database, tables)
    await ask(database, "CREATE TABLE kept (x int)")

    async with postgres.fresh(template=await ask(database, "SELECT current_database()")) as copy:
        assert 1 == await ask(copy, tables)

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await ask(copy, tables)


@pytest.mark.usefixtures("own_postgres")
async def test_what_it_acknowledged_is_there_after_any_end():
    """Killed with sessions open, or stopped, it comes back at the same URL with everything."""
    async with open_postgres(is_durable=False) as server:
        assert 180004 <= int(await ask(server.url(), "SHOW server_version_num"))
        await ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS x")
        connected = await asyncpg.connect(server.url())
        await server.kill()
        await server.come_back()
        assert 7 == await ask(server.url(), "SELECT x FROM kept")
        connected.terminate()

        connected = await asyncpg.connect(server.url())
        await server.stop()
        assert not server.is_running
        await server.come_back()
        assert 7 == await ask(server.url(), "SELECT x FROM kept")
        connected.terminate()

        with pytest.raises(InvariantBroken, match="runs already"):
            await server.start()
        folder = server.folder
    assert not folder.exists()


@pytest.mark.usefixtures("own_postgres")
async def test_one_that_cannot_start_says_why():
    """Its log is in the error."""
    async with open_postgres(is_durable=False) as server:
        await server.stop()
        (server.folder / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
        await server.start()
        with pytest.raises(ServerNotStarted, match="no_such_setting"):
            await server.wait_ready()


@pytest.mark.usefixtures("own_postgres")
def test_users_share_one_which_is_started_again_after_its_keeper_was_killed(tmp_path):
    """Two users have the same server; when its keeper dies it is gone, and the next starts one."""
    with use_shared_postgres(tmp_path) as one, use_shared_postgres(tmp_path) as same:
        assert one == same
        os.kill(int((tmp_path / "keeper.pid").read_text()), signal.SIGKILL)
        os.waitpid(int((tmp_path / "keeper.pid").read_text()), 0)
        with use_shared_postgres(tmp_path) as other:
            assert one != other
    shutil.rmtree(one.partition("host=")[2])
