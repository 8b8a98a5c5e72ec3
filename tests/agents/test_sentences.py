"""Errors as an agent reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumer.agents.arguments import OfDirectSubmit, OfEstimate, OfSubmit
from consumer.agents.sentences import mistakes_of, refusal_of, sentence_of
from consumer.errors import (
    CommandRefused,
    ConfigError,
    FalRefused,
    FalUnavailable,
    KeysUnavailable,
    RecordRefused,
    SchemaDrift,
)
from tests.core.strategies import json_values


@pytest.mark.parametrize(
    "error, said",
    [
        (FalUnavailable("timeout"), "fal does not answer now (timeout): call again in a minute."),
        (
            FalUnavailable("rate_limited", retry_after_s=7),
            "fal does not answer now (rate_limited): call again in 7 s.",
        ),
        (FalRefused(401, "authorization_error"), "does not take this server's key"),
        (FalRefused(403, "not_so"), "does not allow this key"),
        (FalRefused(404, "not_found"), "no such endpoint"),
        (FalRefused(422, "validation"), "fal refused it with 422 (validation)"),
        (FalRefused(0, "bad_quantity"), "whole numbers from 1"),
        (SchemaDrift("status", "a.b", b"secret"), "fal's answer to status is not as"),
        (CommandRefused("command_conflict"), "new command_id"),
        (ConfigError(["one", "two"]), "not set up for that: one; two."),
        (RecordRefused("fal.commands", "too large"), "make the input smaller"),
        (KeysUnavailable("none"), "It did not work (keys_unavailable)"),
    ],
)
def test_each_error_is_a_sentence(error, said):
    """What is wrong and what to do stand in one or two sentences."""
    sentence = sentence_of(error)

    assert said in sentence
    assert sentence.endswith((".", "do."))
    assert "secret" not in sentence


def test_a_connection_never_made_is_no_refusal_of_fal():
    """A submit refused before any answer says that nothing was sent."""
    assert refusal_of(None, "connection_refused").startswith("Nothing was sent")


@given(st.dictionaries(st.sampled_from(["endpoint", "input", "tags", "options", "x"]), json_values))
def test_mistakes_never_quote_what_was_given(given_arguments):
    """Whatever an agent gives, it is taken, or told by field in one line without the values."""
    for takes in (OfDirectSubmit, OfSubmit, OfEstimate):
        try:
            takes.model_validate(given_arguments)
        except ValidationError as exc:
            sentence = mistakes_of(exc)
            assert sentence.startswith("Nothing was asked: the arguments are not usable. ")
            assert sentence.isprintable()
            assert "errors.pydantic.dev" not in sentence


def test_names_that_are_none_of_ours_are_not_repeated():
    """A key that an agent made up, of any kind, is an ellipsis."""
    with pytest.raises(ValidationError) as caught:
        OfEstimate.model_validate({"basis": "unit_price", "quantities": {"../\nsecret": 1}})

    assert "secret" not in mistakes_of(caught.value)
