"""What programs read of a request, a cancellation and a submission."""

from datetime import UTC, datetime

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.lifecycle import join_request, join_submission
from consumer.core.public import public_request, public_submission

AT = datetime(2026, 7, 16, tzinfo=UTC)
TEXT = "2026-07-16T00:00:00.000000Z"


def _told(held, name, witness, **detail):
    fact = new_fact(name, witness, AT, request_id="r", submission_id="s", detail=detail)
    return join_request(held, fact)


def test_a_request_tells_its_keys_deadlines_and_cancellation():
    """A row holds what the submitter gave, and what truly became of a cancel."""
    keys = {"group": "g", "supersedes": "k", "number": 3, "finish_by": "2026-07-16T00:00:00Z"}
    held = _told(None, FactName.SUBMITTED, Witness.SUBMIT, endpoint="a/b", **keys)
    bare = public_request(held)
    held = _told(held, FactName.CANCEL_ASKED, Witness.COMMAND, policy="group", status="IN_QUEUE")
    held = _told(held, FactName.CANCELLED, Witness.CANCEL, policy="group", answer="OK")

    row = public_request(held)

    assert bare["cancellation"] is None
    assert ("g", "k", 3, TEXT, None) == tuple(
        row[name] for name in ("group", "supersedes", "number", "finish_by", "start_by")
    )
    assert row["cancellation"] == {
        "policy": "group",
        "happened": "removed",
        "wanted_at": None,
        "asked_at": TEXT,
        "status": "IN_QUEUE",
        "answer": "OK",
        "by": None,
        "is_billed": False,
    }


def test_a_submission_tells_its_state_and_keys():
    """A row of a submission says where it stands, and which request it became."""
    intended = new_fact(
        FactName.INTENDED,
        Witness.COMMAND,
        AT,
        submission_id="s",
        detail={"endpoint": "a/b", "command_id": "c1"},
    )
    bare = public_submission(join_submission(None, intended))
    keyed = new_fact(
        FactName.SUBMITTED,
        Witness.SUBMIT,
        AT,
        request_id="r",
        submission_id="s",
        detail={"supersedes": "k", "number": 1, "group": "g"},
    )

    row = public_submission(join_submission(join_submission(None, intended), keyed))

    assert ("intended", None, None, None) == tuple(
        bare[name] for name in ("state", "request_id", "supersedes", "group")
    )
    assert ("submitted", "r", "k", 1, "g", "a/b") == tuple(
        row[name] for name in ("state", "request_id", "supersedes", "number", "group", "endpoint")
    )
