"""A whole service with its ledger on PostgreSQL, which goes away and comes back."""

import pytest
from pydantic import SecretStr

from consumer.devservers import open_postgres
from consumer.ledger.migration import migrate
from tests.end_to_end.stage import open_stage, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(180)]


async def test_jobs_end_although_the_database_is_killed_and_stopped(tmp_path, own_postgres):
    """What was asked for while it was away is carried out once, when it is back."""
    async with open_postgres(is_durable=False) as server:
        await migrate(server.url())
        choice = {"ledger_url": SecretStr(server.url()), "simulator": {"time_scale": 0.02}}
        async with open_stage(tmp_path, **choice) as stage:
            await stage.submit("before")
            await stage.ended(await stage.only_request())
            for number, end in enumerate((server.kill, server.stop)):
                await stage.submit(f"just-before-{number}")
                await end()
                await stage.submit(f"while-away-{number}", simulate="lost")
                await server.come_back()

            async def all_ended():
                books = list(stage.simulator.books().requests)
                found = [await stage.request(request_id) for request_id in books]
                return len(books) == 5 and all(r and r.result and not r.is_open for r in found)

            await until(all_ended)
            ends = {
                (await stage.request(one)).state.value for one in stage.simulator.books().requests
            }

    assert {"succeeded"} == ends
