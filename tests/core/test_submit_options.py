"""What a submitter may ask for, and what is refused before it becomes a header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumer.core.submit_options import SubmitOptions


def test_nothing_is_asked_for_by_default():
    """Without options no field is set, so that fal's own defaults hold."""
    assert SubmitOptions().model_dump(exclude_defaults=True) == {}


def test_options_survive_their_json():
    """Options come back equal from the JSON that a command carries."""
    options = SubmitOptions(
        priority="low",
        runner_hint="set 7",
        no_retry=True,
        retry_config={"timeout": 2},
        store_io=False,
        object_lifecycle={"expiration_duration_seconds": None, "initial_acl": {"default": "hide"}},
        disable_fallback=True,
        max_queue_length=0,
    )

    assert options == SubmitOptions.model_validate_json(options.model_dump_json())


@pytest.mark.parametrize(
    "field, value",
    [
        ("priority", "high"),
        ("runner_hint", "a\nX-Other: b"),
        ("runner_hint", ""),
        ("retry_config", {"server_error": -1}),
        ("retry_config", {"fire": 1}),
        ("object_lifecycle", {"expiration_duration_seconds": 0}),
        ("object_lifecycle", {"initial_acl": {"default": "maybe"}}),
        ("max_queue_length", -1),
        ("prioriti", "low"),
    ],
)
def test_what_fal_would_not_read_is_refused(field, value):
    """A word, a number or a name outside the documented ones is an error that names the field."""
    with pytest.raises(ValidationError) as refused:
        SubmitOptions.model_validate({field: value})

    assert field == refused.value.errors()[0]["loc"][0]


@given(st.text())
def test_a_hint_is_one_line_of_visible_text(hint):
    """No hint that is taken can end a header."""
    try:
        taken = SubmitOptions(runner_hint=hint)
    except ValidationError:
        return
    assert taken.runner_hint is not None
    assert taken.runner_hint.isprintable()
