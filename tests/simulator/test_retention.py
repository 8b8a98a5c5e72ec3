import pytest

from consumer.simulator import Fault, Operation

HOUR_S, SIX_MINUTES_S, MONTH_S = 3600.0, 360.0, 30 * 24 * 3600.0


@pytest.mark.parametrize(
    "scenario, store, account_s, expected_s",
    [
        ("plain", None, None, HOUR_S),
        ("plain", "0", MONTH_S, HOUR_S),
        ("plain", "1", None, MONTH_S),
        ("plain", None, 7200.0, 7200.0),
        ("big_body", None, None, SIX_MINUTES_S),
        ("big_body", "1", MONTH_S, SIX_MINUTES_S),
    ],
)
async def test_results_expire_by_size_and_by_payload_storage(
    start, scenario, store, account_s, expected_s
):
    """
    An hour, six minutes from 10 KB on; a month where payloads are stored, which those above
    1 MB never are. The status stays.
    """
    clock = [1_784_206_014.0]
    fal = await start(now=lambda: clock[0], result_ttl_s=HOUR_S, payload_storage_s=account_s)
    submitted = await fal.submit(
        scenario, headers={} if store is None else {"X-Fal-Store-IO": store}
    )
    await fal.reach(submitted, "COMPLETED")
    ended_at = clock[0]

    async def read_at(seconds):
        clock[0] = ended_at + seconds * fal.simulator.config.time_scale
        async with fal.http.get(submitted["response_url"]) as answer:
            return answer.status

    assert [200, 404] == [await read_at(expected_s * 0.99), await read_at(expected_s * 1.01)]
    http_status, _body = await fal.get(submitted["status_url"])
    assert 200 == http_status


async def test_nothing_expires_unless_told(fal):
    """Without a time to live results stay, whatever the account stores."""
    submitted = await fal.submit("plain", headers={"X-Fal-Store-IO": "0"})
    await fal.reach(submitted, "COMPLETED")

    http_status, _body = await fal.get(submitted["response_url"])
    assert 200 == http_status


async def test_an_expired_result_looks_like_an_unknown_one(start):
    """What is gone answers exactly as what never was, and a read of it does not count."""
    fal = await start(result_ttl_s=0.0, payload_storage_s=None)
    submitted = await fal.submit("plain")
    await fal.reach(submitted, "COMPLETED")

    assert (404, {"status": "NOT_FOUND"}) == await fal.get(submitted["response_url"])
    assert 0 == fal.entry(submitted).result_reads


async def test_an_empty_result_is_a_fault_of_the_way(fal):
    """A result can arrive with its headers and no body, although the model gave one."""
    submitted = await fal.submit("plain")
    await fal.reach(submitted, "COMPLETED")
    fal.simulator.plan_faults(Operation.RESULT, Fault.EMPTY)

    async with fal.http.get(submitted["response_url"]) as answer:
        assert (200, b"") == (answer.status, await answer.read())
        assert "X-Fal-Billable-Units" in answer.headers
