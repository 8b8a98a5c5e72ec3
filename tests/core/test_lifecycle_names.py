"""What a request and a submission keep of their facts: names, marks, deadlines, each other."""

from dataclasses import replace
from datetime import timedelta

from consumer.core.fact import Witness
from consumer.core.lifecycle import is_bound, join_all, join_request, join_submission
from consumer.core.standing import Named, Request, Series, State, Submission, SubmissionState
from tests.core.strategies import NOW, REQUEST_ID, signed, told

SECOND = timedelta(seconds=1)


# ---------------------------------------------------------------- names and marks


def test_authority_decides_what_a_request_belongs_to():
    """Fal's submit answer outranks the listing and the command, those the token."""
    held = None
    for witness, endpoint in (
        (Witness.TOKEN, "a/token"),
        (Witness.LISTING, "a/listing"),
        (Witness.SUBMIT, "a/submit"),
    ):
        fact = told("tracked", witness, submission_id=f"sub_{witness}", endpoint=endpoint)
        held = join_request(held, fact)
        assert (held.endpoint.value, held.submission.value) == (endpoint, f"sub_{witness}")


def test_first_claim_stands_within_an_authority():
    """Among claims of one authority the earliest stands, then the least id."""
    claims = [
        told("tracked", Witness.TOKEN, 1, submission_id="sub_a"),
        told("tracked", Witness.TOKEN, 0, submission_id="sub_c"),
        told("tracked", Witness.TOKEN, 0, submission_id="sub_b"),
    ]

    assert join_all(claims).submission == Named(value="sub_b", authority=1, at=NOW)


def test_who_has_no_authority_names_nothing():
    """A status names no endpoint, and a claim that does not count names nothing."""
    told_facts = [
        told("queued", endpoint="a/b", submission_id="sub_1"),
        replace(told("tracked", Witness.TOKEN, endpoint="a/b"), counts=False),
        told("tracked", Witness.TOKEN, endpoint=7),
    ]

    assert join_all(told_facts).endpoint is None


def test_marks_of_a_request():
    """Queue position, cancel, NOT_FOUND and unreadable leave the instants that policies ask for."""
    held = join_all(
        [
            told("queued", seconds=1, position=5),
            told("queued", seconds=3, position=4),
            told("queued", seconds=3, position=2),
            told("queued", seconds=3, position=3),
            told("queued", seconds=2, position=9),
            told("queued", seconds=9, position="first"),
            told("cancel_asked", Witness.CANCEL, 4),
            told("cancel_refused", Witness.CANCEL, 6),
            told("cancel_accepted", Witness.CANCEL, 5),
            told("not_found", seconds=8),
            told("not_found", seconds=7),
            signed("unreadable"),
        ]
    )

    names = [note.name for note in held.cancels]
    assert names == ["cancel_accepted", "cancel_asked", "cancel_refused"]
    assert held.model_copy(update={"cancels": ()}) == Request(
        request_id=REQUEST_ID,
        first_at=NOW,
        last_at=NOW + 9 * SECOND,
        live=State.CANCELLING,
        accounts=("github|1",),
        queue_position=2,
        queue_position_at=NOW + 3 * SECOND,
        cancel_asked_at=NOW + 4 * SECOND,
        cancel_answered_at=NOW + 5 * SECOND,
        known_last_at=NOW + 9 * SECOND,
        not_found_last_at=NOW + 8 * SECOND,
        unreadable_at=NOW,
    )


def test_tracking_brings_deadlines_and_tags():
    """A submission or track brings tags, a command and deadlines, the earliest of which stands."""
    held = join_all(
        [
            told(
                "submitted",
                Witness.SUBMIT,
                start_by="2026-01-01T13:00:00Z",
                tags={"a": "1"},
                command_id="c1",
                has_callback=True,
            ),
            told(
                "tracked",
                Witness.COMMAND,
                start_by="2026-01-01T13:30:00+01:00",
                finish_by="soon",
                tags={"a": "0", "b": 2},
                has_callback="yes",
            ),
        ]
    )

    assert (held.start_by, held.finish_by) == (NOW + timedelta(minutes=30), None)
    assert (held.tags, held.command_id, held.has_callback) == ({"a": "1", "b": "2"}, "c1", True)


# ---------------------------------------------------------------- submissions


def test_token_confirms_a_submission():
    """A token that counts proves that its submission was sent, whatever was feared."""
    unknown = told("unknown", Witness.SUBMIT, submission_id="sub_1", reason="timeout")
    token = told("tracked", Witness.TOKEN, 1, submission_id="sub_1")

    held = join_submission(join_submission(None, unknown), token)

    assert (held.state, held.reason) == (SubmissionState.SUBMITTED, "timeout")
    assert join_submission(None, replace(token, counts=False)).state == SubmissionState.INTENDED


def test_keys_of_a_submitter_stay():
    """Group, place in a series and storage are kept for a request; the highest number stands."""
    low = told("submitted", Witness.SUBMIT, supersedes="k", number=2, group="g", store_io=True)
    high = told("tracked", Witness.COMMAND, supersedes="k", number=3, store_io=False)
    hostile = told("tracked", Witness.LISTING, supersedes="k", number=2**63, group="")

    held = join_all([low, high, hostile])

    assert (held.group, held.series, held.keeps_payload) == ("g", Series(key="k", number=3), True)
    assert join_all([hostile]).series is None


def test_submission_keeps_what_it_was():
    """A submission keeps its endpoint, input hash, tags and command, and a remembered cancel."""
    intended = told(
        "intended",
        Witness.COMMAND,
        submission_id="sub_1",
        endpoint="a/b",
        command_id="c1",
        input_sha256="aa",
        tags={"a": "1"},
        reason="none of this state",
    )
    remembered = told("cancel_remembered", Witness.COMMAND, submission_id="sub_1")

    held = join_submission(join_submission(None, replace(intended, request_id="")), remembered)

    assert held == Submission(
        submission_id="sub_1",
        first_at=NOW,
        last_at=NOW,
        request=Named(value=REQUEST_ID, authority=2, at=NOW),
        endpoint="a/b",
        command_id="c1",
        tags={"a": "1"},
        input_sha256="aa",
        is_cancel_remembered=True,
        cancel_policy="asked",
    )


def test_both_sides_must_name_each_other():
    """A request and a submission belong together only when each names the other."""
    fact = told("submitted", Witness.SUBMIT, submission_id="sub_1")
    request, submission = join_request(None, fact), join_submission(None, fact)
    nameless = told("intended", Witness.SWEEP, submission_id="sub_1")
    elsewhere = told("submitted", Witness.SUBMIT, -1, submission_id="sub_0")

    assert is_bound(request, submission)
    assert not is_bound(join_request(request, elsewhere), submission)
    assert not is_bound(join_request(None, told("running")), submission)
    assert not is_bound(request, join_submission(None, nameless))
    assert not is_bound(
        request, join_submission(submission, replace(elsewhere, request_id="another"))
    )
