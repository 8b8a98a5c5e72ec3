"""
What every `ports.FalQueue` promises, as functions that take a stage.

`world` holds fal's jobs and scripts and is moved by the test; `fal` is what is judged, and
answers from that world: in memory, or over HTTP.
"""

from dataclasses import dataclass

import pytest

from consumer.core.endpoint import is_request_id
from consumer.errors import FalRefused, FalUnavailable
from consumer.ports import (
    CancelAnswer,
    FalQueue,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitOrder,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.testing.fal import FakeFal

ENDPOINT = "fal-ai/flux/dev"
JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
HOSTILE_IDS = [
    "",
    "..",
    "../x",
    JOB + "/",
    JOB[:-1],
    "0" * 32,
    f"{{{JOB}}}",
    "\u0430" * 36,
    "%2e%2e",
]
HOSTILE_ENDPOINTS = ["", "fal-ai", "/fal-ai/x", "fal-ai//x", "fal-ai/../x", "a/b?c", "a/b#c", "a/ü"]


@dataclass(frozen=True)
class Stage:
    """One fal queue under test and the world that it answers from."""

    fal: FalQueue
    world: FakeFal


async def unknown_id_is_not_found(stage: Stage) -> None:
    """An id that fal never gave is NOT_FOUND for status, result and cancel, not an error."""
    assert StatusAnswer(QueueStatus.NOT_FOUND) == await stage.fal.status(ENDPOINT, JOB)
    assert ResultAnswer(ResultKind.NOT_FOUND) == await stage.fal.result(ENDPOINT, JOB)
    assert await stage.fal.cancel(ENDPOINT, JOB) == CancelAnswer.NOT_FOUND


async def hostile_request_id_makes_no_call(stage: Stage) -> None:
    """A request id that is no UUID is refused with status 0 before any call."""
    for request_id in HOSTILE_IDS:
        for ask in (stage.fal.status, stage.fal.result, stage.fal.cancel):
            with pytest.raises(FalRefused) as refused:
                await ask(ENDPOINT, request_id)
            assert refused.value.http_status == 0

    assert stage.world.calls == []


async def hostile_endpoint_makes_no_call(stage: Stage) -> None:
    """An endpoint outside the grammar is refused before any call, submits included."""
    for endpoint in HOSTILE_ENDPOINTS:
        for ask in (stage.fal.status, stage.fal.result, stage.fal.cancel):
            with pytest.raises(FalRefused) as refused:
                await ask(endpoint, JOB)
            assert refused.value.http_status == 0
        answer = await stage.fal.submit(SubmitOrder(endpoint, {}))
        assert isinstance(answer, SubmitRefused)
        assert answer.http_status is None

    assert stage.world.calls == []


async def status_follows_the_job(stage: Stage) -> None:
    """A job is queued at a position, then runs, then is completed without an error."""
    stage.world.add(ENDPOINT, JOB).queue_position = 7
    assert StatusAnswer(QueueStatus.IN_QUEUE, 7) == await stage.fal.status(ENDPOINT, JOB)

    stage.world.start(JOB)
    assert StatusAnswer(QueueStatus.IN_PROGRESS) == await stage.fal.status(ENDPOINT, JOB)

    stage.world.finish(JOB, {"seed": 1})
    assert StatusAnswer(QueueStatus.COMPLETED) == await stage.fal.status(ENDPOINT, JOB)


async def sub_path_does_not_matter(stage: Stage) -> None:
    """A request is found by its app, whichever sub path names the endpoint; not by another app."""
    stage.world.add(ENDPOINT, JOB)

    assert (await stage.fal.status("fal-ai/flux/pro", JOB)).status is QueueStatus.IN_QUEUE
    assert (await stage.fal.status("fal-ai/other", JOB)).status is QueueStatus.NOT_FOUND


async def result_waits_for_the_end(stage: Stage) -> None:
    """A result is not ready until the job completes; then its bytes are the model's, untouched."""
    stage.world.add(ENDPOINT, JOB)
    assert ResultKind.NOT_READY is (await stage.fal.result(ENDPOINT, JOB)).kind
    stage.world.start(JOB)
    assert ResultKind.NOT_READY is (await stage.fal.result(ENDPOINT, JOB)).kind

    stage.world.finish(JOB, b'{"seed": 17454220438242315174 }', billable_units="1.5")

    expected = ResultAnswer(
        ResultKind.READY,
        http_status=200,
        body=b'{"seed": 17454220438242315174 }',
        content_type="application/json",
        billable_units="1.5",
    )
    assert expected == await stage.fal.result(ENDPOINT, JOB)


async def model_failure_is_told_by_the_result_alone(stage: Stage) -> None:
    """A model's own 422 is COMPLETED without an error, and a READY result of that status."""
    stage.world.add(ENDPOINT, JOB)
    stage.world.finish(JOB, {"detail": []}, http_status=422, billable_units="0")

    status = await stage.fal.status(ENDPOINT, JOB)
    result = await stage.fal.result(ENDPOINT, JOB)

    assert StatusAnswer(QueueStatus.COMPLETED) == status
    assert (
        result.kind,
        result.http_status,
        result.billable_units,
    ) == (ResultKind.READY, 422, "0")


async def infrastructure_failure_is_told_by_both(stage: Stage) -> None:
    """A lost runner shows in the status with error and type, and as a READY result of its code."""
    stage.world.add(ENDPOINT, JOB)
    stage.world.break_down(JOB, "Runner disconnected", "runner_disconnected", 503)

    expected = StatusAnswer(
        QueueStatus.COMPLETED, error="Runner disconnected", error_type="runner_disconnected"
    )
    assert expected == await stage.fal.status(ENDPOINT, JOB)
    result = await stage.fal.result(ENDPOINT, JOB)
    assert (
        result.kind,
        result.http_status,
        result.billable_units,
    ) == (ResultKind.READY, 503, None)


async def expired_result_keeps_its_status(stage: Stage) -> None:
    """An expired result is NOT_FOUND while the status is still COMPLETED."""
    stage.world.add(ENDPOINT, JOB)
    stage.world.finish(JOB, {})
    stage.world.expire(JOB)

    assert ResultKind.NOT_FOUND is (await stage.fal.result(ENDPOINT, JOB)).kind
    assert QueueStatus.COMPLETED is (await stage.fal.status(ENDPOINT, JOB)).status


async def cancel_depends_on_where_the_job_stands(stage: Stage) -> None:
    """A queued job is removed, a running one only asked, a completed one left alone."""
    stage.world.add(ENDPOINT, JOB)
    assert CancelAnswer.REMOVED is await stage.fal.cancel(ENDPOINT, JOB)
    assert CancelAnswer.ALREADY_COMPLETED is await stage.fal.cancel(ENDPOINT, JOB)

    stage.world.add(ENDPOINT, JOB)
    stage.world.start(JOB)
    assert CancelAnswer.REQUESTED is await stage.fal.cancel(ENDPOINT, JOB)
    assert QueueStatus.IN_PROGRESS is (await stage.fal.status(ENDPOINT, JOB)).status


async def submit_makes_one_job(stage: Stage) -> None:
    """A submit makes exactly one job, with the order as given, under the id that is returned."""
    order = SubmitOrder(
        ENDPOINT,
        {"prompt": "ü", "n": [1, None]},
        callback_url="https://example.com/hook/a.b?c=d&e",
        start_timeout_s=30,
        tags={"team": "blue", "job": "a=b"},
    )

    answer = await stage.fal.submit(order)

    assert isinstance(answer, Submitted)
    assert is_request_id(answer.request_id)
    assert [answer.request_id] == list(stage.world.jobs)
    assert [order] == stage.world.orders
    assert QueueStatus.IN_QUEUE is (await stage.fal.status(ENDPOINT, answer.request_id)).status


async def submit_answers_instead_of_raising(stage: Stage) -> None:
    """A refused and a lost submit are answers, each after one call and without a job."""
    stage.world.answer_next("submit", SubmitRefused(403, "locked"), SubmitUnknown("cut"))

    assert SubmitRefused(403, "locked") == await stage.fal.submit(SubmitOrder(ENDPOINT, {}))
    assert SubmitUnknown("cut") == await stage.fal.submit(SubmitOrder(ENDPOINT, {}))

    assert len(stage.world.calls) == 2
    assert stage.world.jobs == {}


async def trouble_is_told_from_refusal(stage: Stage) -> None:
    """No answer is FalUnavailable, a locked account is FalRefused; afterwards all is as before."""
    stage.world.add(ENDPOINT, JOB)
    for operation in ("status", "result", "cancel"):
        ask = getattr(stage.fal, operation)
        stage.world.answer_next(operation, FalUnavailable("http_503"), FalRefused(403, "locked"))

        with pytest.raises(FalUnavailable):
            await ask(ENDPOINT, JOB)
        with pytest.raises(FalRefused) as refused:
            await ask(ENDPOINT, JOB)

        assert (refused.value.http_status, refused.value.reason) == (403, "locked")
    assert QueueStatus.IN_QUEUE is (await stage.fal.status(ENDPOINT, JOB)).status


async def nothing_is_held_back_from_a_fal_that_takes_jobs(stage: Stage) -> None:
    """While fal takes jobs, no word says that a submit would be refused."""
    assert stage.fal.holds_back == ""
    await stage.fal.submit(SubmitOrder(ENDPOINT, {}))

    assert stage.fal.holds_back == ""


async def origin_names_who_answers(stage: Stage) -> None:
    """The origin is scheme and host, without a path."""
    assert stage.fal.origin == stage.world.origin


PROMISES = [
    unknown_id_is_not_found,
    hostile_request_id_makes_no_call,
    hostile_endpoint_makes_no_call,
    status_follows_the_job,
    sub_path_does_not_matter,
    result_waits_for_the_end,
    model_failure_is_told_by_the_result_alone,
    infrastructure_failure_is_told_by_both,
    expired_result_keeps_its_status,
    cancel_depends_on_where_the_job_stands,
    submit_makes_one_job,
    submit_answers_instead_of_raising,
    trouble_is_told_from_refusal,
    nothing_is_held_back_from_a_fal_that_takes_jobs,
    origin_names_who_answers,
]
