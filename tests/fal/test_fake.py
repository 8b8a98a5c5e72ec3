"""What the fake can do beyond the promises: scripts and hooks."""

import pytest

from consumer.errors import SchemaDrift
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitOrder,
)
from consumer.testing.fal import FakeFal

ENDPOINT = "fal-ai/flux/dev"
JOB = "019f7085-1439-7320-9a28-939d54dfcee5"


async def test_scripted_answers_come_first_and_once():
    """What is scripted is answered in order, then the jobs answer again."""
    fake = FakeFal()
    fake.answer_next("status", StatusAnswer(QueueStatus.IN_PROGRESS), SchemaDrift("s", "p", b""))
    fake.answer_next("result", ResultAnswer(ResultKind.NOT_READY))
    fake.answer_next("cancel", CancelAnswer.REQUESTED)

    assert (await fake.status(ENDPOINT, JOB)).status is QueueStatus.IN_PROGRESS
    with pytest.raises(SchemaDrift):
        await fake.status(ENDPOINT, JOB)
    assert (await fake.status(ENDPOINT, JOB)).status is QueueStatus.NOT_FOUND
    assert (await fake.result(ENDPOINT, JOB)).kind is ResultKind.NOT_READY
    assert await fake.cancel(ENDPOINT, JOB) is CancelAnswer.REQUESTED
    assert [operation for operation, _ in fake.calls] == ["status"] * 3 + ["result", "cancel"]


async def test_submitted_jobs_can_be_met_at_once():
    """A hook sees each job as it is made, as an early webhook would."""
    fake = FakeFal(on_submit=lambda job: met.append((job.request_id, job.order)))
    met: list[object] = []
    order = SubmitOrder(ENDPOINT, {"a": 1})

    answer = await fake.submit(order)

    assert met == [(answer.request_id, order)]


async def test_forgotten_job_is_unknown():
    """A job that fal forgot is like one that never was."""
    fake = FakeFal()
    fake.add(ENDPOINT, JOB)
    fake.forget(JOB)

    assert (await fake.status(ENDPOINT, JOB)).status is QueueStatus.NOT_FOUND
