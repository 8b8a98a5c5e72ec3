"""A submit: what is sent, that it is sent once, and what its silence means."""

import asyncio
from dataclasses import replace

import pytest

from consumer.ports import (
    QueueStatus,
    StatusAnswer,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from tests.fal.canned import (
    BAD_KEY,
    CUT,
    ENDPOINT,
    HALF,
    HANG,
    JOB,
    LOCKED,
    NGINX,
    ORDER,
    RUNNING,
    TAKEN,
    UNUSED,
)
from tests.fal.conftest import KEY, QUICK, Canned


async def test_submit_sends_one_post(server, fal):
    """A submit is one POST to the whole endpoint id, callback in the query, key in the header."""
    server.answer(TAKEN)

    answer = await fal.submit(replace(ORDER, start_timeout_s=30, tags={"a": "b"}))

    assert Submitted(JOB) == answer
    (seen,) = server.seen
    path = f"/{ENDPOINT}?fal_webhook=http%3A%2F%2Fa.example%2Fh%3Fx%3D1%26y%3D2"
    assert ("POST", path, b'{"prompt":"a"}') == (seen.method, seen.path_qs, seen.body)
    assert f"Key {KEY}" == seen.headers["Authorization"]
    assert (
        seen.headers["X-Fal-Request-Start-Timeout"],
        seen.headers["X-Fal-Tags"],
    ) == ("30", "a=b")


@pytest.mark.parametrize(
    "order",
    [
        replace(ORDER, endpoint="a/../b"),
        replace(ORDER, tags={"A": "b"}),
        replace(ORDER, start_timeout_s=0.1),
        replace(ORDER, callback_url="nowhere"),
        replace(ORDER, input={"x": float("nan")}),
    ],
)
async def test_unfit_order_makes_no_call(server, fal, order):
    """An order that fal would refuse is refused without a call and without a status."""
    answer = await fal.submit(order)

    assert isinstance(answer, SubmitRefused)
    assert answer.http_status is None
    assert server.seen == []


@pytest.mark.parametrize(
    "canned, expected",
    [
        (CUT, SubmitUnknown("cut")),
        (HALF, SubmitUnknown("cut")),
        (NGINX, SubmitUnknown("http_502")),
        (Canned(429, b"{}", {"Retry-After": "0"}), SubmitRefused(429, "rate_limited")),
        (BAD_KEY, SubmitRefused(401, "unauthorized")),
        (LOCKED, SubmitRefused(403, "locked")),
        (Canned(200, b"{}"), SubmitUnknown("unreadable_id")),
        (Canned(200, b"x" * 2_000_000), SubmitUnknown("too_large")),
        (Canned(307, b"", {"Location": "/elsewhere/x"}), SubmitUnknown("http_307")),
    ],
)
async def test_submit_is_never_repeated(server, fal, canned, expected):
    """Whatever comes back, one order is one POST."""
    server.answer(canned)

    assert expected == await fal.submit(ORDER)
    assert len(server.seen) == 1


async def test_submit_without_an_answer_is_unknown(server, open_client):
    """A submit that is read and not answered in time may have made a job."""
    server.answer(HANG)
    fal = await open_client(limits=replace(QUICK, submit_s=0.2))

    assert SubmitUnknown("timeout") == await fal.submit(ORDER)
    assert len(server.seen) == 1


async def test_submit_never_sits_on_a_kept_connection(server, fal):
    """Each submit has its own connection: one that the other side just closed proves nothing."""
    server.answer(TAKEN)

    await fal.submit(ORDER)
    await fal.submit(ORDER)

    assert [seen.headers["Connection"] for seen in server.seen] == ["close", "close"]


async def test_unreachable_host_is_a_certain_no(open_client):
    """Where no connection was made, no job exists."""
    fal = await open_client(UNUSED)

    assert SubmitRefused(None, "not_connected") == await fal.submit(ORDER)


async def test_backup_takes_what_could_not_connect(server, open_client):
    """An order that never left goes to the backup once; reads do so too."""
    server.answer(TAKEN, RUNNING)
    fal = await open_client(UNUSED, backup_url=server.url)

    assert Submitted(JOB) == await fal.submit(ORDER)
    assert StatusAnswer(QueueStatus.IN_PROGRESS) == await fal.status(ENDPOINT, JOB)
    assert fal.origin == UNUSED


async def test_backup_is_not_asked_after_an_answer(server, other_server, open_client):
    """A host that was reached and failed is not replaced: the order may have been taken."""
    server.answer(CUT)
    other_server.answer(TAKEN)
    fal = await open_client(backup_url=other_server.url)

    assert SubmitUnknown("cut") == await fal.submit(ORDER)
    assert other_server.seen == []


async def test_submit_that_found_no_place_is_a_certain_no(server, open_client):
    """An order that waited for a place until its deadline was never sent."""
    server.answer(HANG)
    fal = await open_client(limits=replace(QUICK, max_calls=1, submit_s=0.05))
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(fal.status(ENDPOINT, JOB))
        await server.hung.wait()
        answer = await fal.submit(ORDER)
        server.answer(RUNNING)
        server.let_go.set()

    assert SubmitRefused(None, "too_many_calls") == answer
    assert QueueStatus.IN_PROGRESS is reading.result().status
