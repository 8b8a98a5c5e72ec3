"""The real client before a server: what is sent, how often, to whom, and what is remembered."""

import asyncio
from dataclasses import replace

import pytest
import structlog

from consumer.errors import FalRefused, FalUnavailable, SchemaDrift
from consumer.fal import file_credential
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitRefused,
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
from tests.fal.conftest import QUICK, Canned


def ask(fal, operation):
    """Call one of the three reads for the job."""
    return getattr(fal, operation)(ENDPOINT, JOB)


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    "operation, method, tail",
    [("status", "GET", "/status"), ("result", "GET", ""), ("cancel", "PUT", "/cancel")],
)
async def test_reads_use_the_app_alone(server, fal, operation, method, tail):
    """Status, result and cancel drop the endpoint's sub path: with it fal answers 405."""
    server.answer(RUNNING)

    await ask(fal, operation)

    (seen,) = server.seen
    path = f"/fal-ai/kling-video/requests/{JOB}{tail}"
    assert (method, path, b"") == (seen.method, seen.path_qs, seen.body)


async def test_base_path_is_kept(server, open_client):
    """A queue address with a path keeps it; the origin is without."""
    server.answer(RUNNING)
    fal = await open_client(f"{server.url}/queue/")

    await fal.status(ENDPOINT, JOB)

    assert f"/queue/fal-ai/kling-video/requests/{JOB}/status" == server.seen[0].path_qs
    assert server.url == fal.origin


# ---------------------------------------------------------------- reads: a few patient tries


@pytest.mark.parametrize("operation", ["status", "result", "cancel"])
@pytest.mark.parametrize("trouble", [NGINX, CUT, HALF, Canned(429), Canned(503)])
async def test_reads_are_tried_again(server, fal, operation, trouble):
    """Trouble of the network or of a proxy is tried again, and an answer ends it."""
    server.answer(trouble, trouble, Canned(404, b'{"status":"NOT_FOUND"}'))

    answer = await ask(fal, operation)

    expected = {
        "status": StatusAnswer(QueueStatus.NOT_FOUND),
        "result": ResultAnswer(ResultKind.NOT_FOUND),
        "cancel": CancelAnswer.NOT_FOUND,
    }
    assert expected[operation] == answer
    assert len(server.seen) == 3


@pytest.mark.parametrize("operation", ["status", "result", "cancel"])
async def test_reads_end_after_three_tries(server, fal, operation):
    """The number of tries is small; then the caller decides when to ask again."""
    server.answer(NGINX)

    with pytest.raises(FalUnavailable):
        await ask(fal, operation)

    assert len(server.seen) == 3


async def test_short_wait_that_fal_names_is_kept(server, fal):
    """A Retry-After within our patience is waited for, then asked again."""
    server.answer(Canned(429, b"", {"Retry-After": "0.01"}), RUNNING)

    assert QueueStatus.IN_PROGRESS is (await fal.status(ENDPOINT, JOB)).status


async def test_long_wait_that_fal_names_is_the_callers(server, fal):
    """A longer Retry-After is handed to the caller at once, without another call."""
    server.answer(Canned(429, b"", {"Retry-After": "30"}))

    with pytest.raises(FalUnavailable) as unavailable:
        await fal.status(ENDPOINT, JOB)

    assert (
        unavailable.value.retry_after_s,
        unavailable.value.problem,
    ) == (30.0, "rate_limited")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "canned", [LOCKED, Canned(404, b'{"detail":"no"}'), Canned(405), Canned(400)]
)
async def test_refusals_are_not_repeated(server, fal, canned):
    """A certain no is asked for once."""
    server.answer(canned)

    with pytest.raises(FalRefused):
        await fal.status(ENDPOINT, JOB)

    assert len(server.seen) == 1


async def test_drift_is_not_repeated(server, fal):
    """An answer that we do not understand is not understood better the second time."""
    server.answer(Canned(200, b'{"status":"PAUSED"}'))

    with pytest.raises(SchemaDrift):
        await fal.status(ENDPOINT, JOB)

    assert len(server.seen) == 1


@pytest.mark.parametrize("operation", ["status", "result", "cancel"])
async def test_every_read_has_a_deadline(server, open_client, operation):
    """A server that says nothing is given up, once for all tries."""
    server.answer(HANG)
    fal = await open_client(limits=replace(QUICK, **{f"{operation}_s": 0.1}))

    with pytest.raises(FalUnavailable, match="timeout"):
        await ask(fal, operation)


async def test_unreachable_host_is_unavailable(open_client):
    """No connection is trouble, not a refusal, for reads."""
    fal = await open_client(UNUSED)

    with pytest.raises(FalUnavailable, match="not_connected"):
        await fal.status(ENDPOINT, JOB)


async def test_replayed_model_failure_is_read_once(server, fal):
    """A model's own 500 is its result, not trouble."""
    server.answer(Canned(500, b'{"detail":"boom"}', {"x-fal-request-id": JOB}))

    answer = await fal.result(ENDPOINT, JOB)

    assert (answer.kind, answer.http_status) == (ResultKind.READY, 500)
    assert len(server.seen) == 1


# ---------------------------------------------------------------- bounds


async def test_result_over_the_cap_is_refused(server, open_client):
    """A result larger than the cap is FalRefused with that reason; one at the cap is read."""
    fal = await open_client(limits=replace(QUICK, max_result_bytes=1000))
    server.answer(Canned(200, b"x" * 1001))

    with pytest.raises(FalRefused, match="too_large"):
        await fal.result(ENDPOINT, JOB)

    server.answer(Canned(200, b"x" * 1000))
    assert len((await fal.result(ENDPOINT, JOB)).body) == 1000


async def test_status_over_the_cap_is_refused(server, fal):
    """Status bodies are bounded too, far lower."""
    server.answer(Canned(200, b" " * (1024 * 1024 + 1)))

    with pytest.raises(FalRefused, match="too_large"):
        await fal.status(ENDPOINT, JOB)


async def test_calls_at_once_are_bounded(server, open_client):
    """No more calls run at once than the limit says."""
    server.answer(HANG)
    fal = await open_client(limits=replace(QUICK, max_calls=1, status_s=5))
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(fal.status(ENDPOINT, JOB)) for _ in range(3)]
        await server.hung.wait()
        assert len(server.seen) == 1
        server.answer(RUNNING)
        server.let_go.set()
        for task in asked[1:]:
            assert QueueStatus.IN_PROGRESS is (await task).status


# ---------------------------------------------------------------- the key


async def test_rotated_key_is_read_again_after_401(server, open_client, tmp_path):
    """A refused key is read again and the call repeated with the new one."""
    path = tmp_path / "key"
    path.write_text("id:old")
    fal = await open_client(credential=file_credential(path))
    path.write_text("id:new")
    server.answer(BAD_KEY, RUNNING)

    await fal.status(ENDPOINT, JOB)

    assert [seen.headers["Authorization"] for seen in server.seen] == ["Key id:old", "Key id:new"]
    assert fal.problems() == ()


async def test_refused_key_is_asked_twice_and_told(server, fal):
    """A key that stays refused is FalRefused 401, shown in readiness until fal takes it again."""
    server.answer(BAD_KEY, BAD_KEY, RUNNING)

    with pytest.raises(FalRefused) as refused:
        await fal.status(ENDPOINT, JOB)

    assert (refused.value.http_status, refused.value.reason) == (401, "unauthorized")
    assert len(server.seen) == 2
    assert fal.problems() == ("unauthorized",)
    await fal.status(ENDPOINT, JOB)
    assert fal.problems() == ()


async def test_submit_reads_a_rotated_key_before_it_calls(server, open_client, tmp_path):
    """A submit never needs a second call for a rotated key."""
    path = tmp_path / "key"
    path.write_text("id:old")
    fal = await open_client(credential=file_credential(path))
    path.write_text("id:new")
    server.answer(TAKEN)

    await fal.submit(ORDER)

    assert [seen.headers["Authorization"] for seen in server.seen] == ["Key id:new"]


async def test_without_a_key_nothing_is_called(server, open_client, tmp_path):
    """No key is a refusal with that reason, not a call without one."""
    fal = await open_client(credential=file_credential(tmp_path / "absent"))

    assert SubmitRefused(None, "no_key") == await fal.submit(ORDER)
    with pytest.raises(FalRefused, match="no_key"):
        await fal.status(ENDPOINT, JOB)

    assert server.seen == []
    assert fal.problems() == ("no_key",)


@pytest.mark.parametrize("operation", ["status", "result", "cancel"])
@pytest.mark.parametrize("http_status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(server, other_server, fal, operation, http_status):
    """A redirect is a refusal: the key is never carried to where it points."""
    server.answer(Canned(http_status, b"", {"Location": f"{other_server.url}/x"}))

    with pytest.raises(FalRefused):
        await ask(fal, operation)

    assert other_server.seen == []


async def test_lock_is_remembered_until_a_submit_is_taken(server, fal):
    """A locked account shows in readiness; reads go on meanwhile and do not clear it."""
    server.answer(LOCKED, RUNNING, TAKEN)

    assert SubmitRefused(403, "locked") == await fal.submit(ORDER)
    await fal.status(ENDPOINT, JOB)
    assert fal.is_locked
    assert fal.problems() == ("locked",)

    await fal.submit(ORDER)
    assert fal.problems() == ()


# ---------------------------------------------------------------- what is told


async def test_retry_is_logged_without_any_text_of_fal(server, fal):
    """A further try, and a pace that was cut, are one line each, of words and numbers of ours."""
    server.answer(NGINX, Canned(429), RUNNING)

    with structlog.testing.capture_logs() as lines:
        await fal.status(ENDPOINT, JOB)

    expected = [
        {
            "event": "fal.call_retried",
            "log_level": "warning",
            "operation": "status",
            "attempt": 2,
            "error": "http_502",
        },
        {
            "event": "fal.pace_cut",
            "log_level": "warning",
            "host": "queue",
            "calls_per_s": 1.0,
        },
    ]
    assert expected == [line for line in lines if line["event"].startswith("fal.")]


@pytest.mark.parametrize("canned", [BAD_KEY, LOCKED, NGINX, CUT, Canned(200, b'{"status":"X"}')])
async def test_no_error_shows_key_callback_or_body(server, fal, canned):
    """Whatever goes wrong, neither the error nor a log line holds the key, the URL or a body."""
    server.answer(canned)

    with structlog.testing.capture_logs() as lines:
        answer = await fal.submit(ORDER)
        with pytest.raises((FalRefused, FalUnavailable, SchemaDrift)) as error:
            await fal.status(ENDPOINT, JOB)

    told = f"{answer!r} {error.value} {lines} {fal!r}"
    for secret in ("secret-of-key", "id-of-key", "a.example", "locked. Reason", "Bad Gateway"):
        assert secret not in told


async def test_calls_are_counted_by_operation_and_status(server, fal, open_client, metrics):
    """Every call counts, with `none` where no answer came."""
    server.answer(NGINX, RUNNING, Canned(200, b'{"status":"OK"}'))
    unreachable = await open_client(UNUSED)

    await fal.status(ENDPOINT, JOB)
    assert CancelAnswer.REMOVED is await fal.cancel(ENDPOINT, JOB)
    await unreachable.submit(ORDER)

    counted = {
        (sample.labels["operation"], sample.labels["http_status"]): sample.value
        for metric in metrics.fal_calls.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    expected = {
        ("submit", "none"): 1,
        ("status", "502"): 1,
        ("status", "202"): 1,
        ("cancel", "200"): 1,
    }
    assert expected == counted
