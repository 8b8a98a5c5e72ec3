"""Commands from others: what is taken, and what is told about what is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.command import (
    COMMAND,
    Cancel,
    Refetch,
    Submit,
    Track,
    command_event,
    group_subject,
    parse_command,
    submission_id_of,
)
from consumer.core.event import EventType, decode, encode
from consumer.core.text import dump_json
from consumer.errors import UndecodableEvent
from tests.core.strategies import NOW, REQUEST_ID, json_objects, json_values, texts

SUBMIT = {"command": "submit", "command_id": "c1", "endpoint": "fal-ai/flux-2", "input": {"p": 1}}
TRACK = {"command": "track", "command_id": "c2", "endpoint": "a/b", "request_id": REQUEST_ID}
CANCEL = {"command": "cancel", "command_id": "c3", "subject": "sub_1"}
CANCEL_GROUP = {"command": "cancel", "command_id": "c5", "group": "g"}
REFETCH = {"command": "refetch", "command_id": "c4", "request_id": REQUEST_ID}
GENUINE = [SUBMIT, TRACK, CANCEL, CANCEL_GROUP, REFETCH]

command_ids = st.from_regex(r"[!-~]{1,200}", fullmatch=True)
wanted = {
    "command_id": command_ids,
    "endpoint": st.just("a/b"),
    "start_by": st.sampled_from([None, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+02:00"]),
    "tags": st.dictionaries(texts, texts, max_size=3),
    "group": st.one_of(st.none(), command_ids),
    "supersedes": st.one_of(st.none(), command_ids),
}
commands = st.one_of(
    st.builds(Submit, **wanted, input=json_objects),
    st.builds(Track, **wanted, request_id=st.uuids().map(str)),
    st.builds(
        Cancel,
        command_id=command_ids,
        subject=st.from_regex(r"[\w-]{1,64}", fullmatch=True).filter(str.isascii),
    ),
    st.builds(Cancel, command_id=command_ids, group=command_ids),
    st.builds(Refetch, command_id=command_ids, request_id=st.uuids().map(str)),
)


@given(commands)
def test_what_is_asked_is_read(command):
    """A command survives its event, tags and input with NUL and surrogates included."""
    event = command_event(command.model_dump(), source="cli", at=NOW)
    record = encode(event)

    assert decode(record.headers, record.value) == event
    assert parse_command(event.data) == command


@pytest.mark.parametrize(
    "fields, subject",
    [
        (SUBMIT, submission_id_of("c1")),
        (TRACK, REQUEST_ID),
        (CANCEL, "sub_1"),
        (CANCEL_GROUP, group_subject("g")),
        (REFETCH, REQUEST_ID),
    ],
)
def test_event_is_about_its_subject(fields, subject):
    """A command's event has the command's id, and as subject what it is about."""
    event = command_event(fields, source="cli", at=NOW)

    assert (event.type, event.id, event.subject, event.source, event.time) == (
        EventType.COMMAND,
        fields["command_id"],
        subject,
        "cli",
        NOW,
    )


def test_submission_id_is_the_commands():
    """The same command id gives the same submission id in every process."""
    submit = parse_command(dump_json(SUBMIT))

    assert submit.submission_id == submission_id_of("c1")
    assert submission_id_of("c1") == "sub_" + submission_id_of("c1")[4:]
    assert len(submission_id_of("c1")) == 36
    assert submission_id_of("c1") != submission_id_of("c2")


def test_same_input_has_the_same_hash():
    """Two submits are the same when endpoint and input are, whatever their tags."""
    one, tagged = Submit(**SUBMIT), Submit(**SUBMIT, tags={"a": "b"})
    other = Submit(**SUBMIT | {"input": {"p": 2}})

    assert one.input_sha256 == tagged.input_sha256
    assert one.input_sha256 != other.input_sha256


def test_request_ids_are_lower_case():
    """A request id in capitals is the same request."""
    for fields in (TRACK, REFETCH):
        command = parse_command(dump_json(fields | {"request_id": REQUEST_ID.upper()}))
        assert command.request_id == REQUEST_ID


@pytest.mark.parametrize(
    "fields, sentence",
    [
        (SUBMIT | {"endpoint": "../x"}, "submit.endpoint: Value error, expected owner/app[/path]"),
        (SUBMIT | {"start_by": "soon"}, "submit.start_by: Value error, "),
        (SUBMIT | {"finish_by": "2026-01-01T00:00:00"}, "submit.finish_by: Value error, no offset"),
        (SUBMIT | {"tags": {str(n): "" for n in range(11)}}, "submit.tags: "),
        (SUBMIT | {"input": []}, "submit.input: "),
        (SUBMIT | {"command_id": ""}, "submit.command_id: "),
        (SUBMIT | {"command_id": "a b"}, "submit.command_id: "),
        (SUBMIT | {"command_id": "c" * 201}, "submit.command_id: "),
        (SUBMIT | {"command_id": "\ud800"}, "submit.command_id: "),
        (SUBMIT | {"webhook": "x"}, "submit.webhook: Extra inputs are not permitted"),
        (TRACK | {"request_id": "x"}, "track.request_id: Value error, expected a UUID"),
        (REFETCH | {"request_id": "\ud800"}, "refetch.request_id: Value error, expected a UUID"),
        (CANCEL | {"subject": "a/b"}, "cancel.subject: "),
        (CANCEL | {"subject": "a" * 65}, "cancel.subject: "),
        (CANCEL | {"group": "g"}, "cancel: Value error, expected either subject or group"),
        (CANCEL_GROUP | {"group": None}, "cancel: Value error, expected either subject or group"),
        (CANCEL_GROUP | {"group": "a b"}, "cancel.group: "),
        (SUBMIT | {"group": ""}, "submit.group: "),
        (TRACK | {"supersedes": "k" * 201}, "track.supersedes: "),
        ({"command": "drop"}, "data: expected submit, track, cancel or refetch"),
        ({}, "data: expected submit, track, cancel or refetch"),
        ([], "data: "),
        (None, "data: "),
    ],
)
def test_mistakes_are_named(fields, sentence):
    """A command outside its form is refused by field and expectation."""
    with pytest.raises(UndecodableEvent) as refused:
        parse_command(json.dumps(fields).encode())

    assert str(refused.value).startswith(sentence)


def test_what_is_no_json_is_refused():
    """A record that is no JSON is refused as such."""
    with pytest.raises(UndecodableEvent) as refused:
        parse_command(b"{")

    assert str(refused.value) == "data: not JSON"


@pytest.mark.parametrize("raw", [b"1e999", b'{"deep": [-1e999]}'])
def test_input_that_cannot_be_written_is_refused(raw):
    """An input that no JSON writer can repeat is refused before anything is claimed for it."""
    body = b'{"command":"submit","command_id":"c","endpoint":"a/b","input":{"x":%s}}' % raw

    with pytest.raises(UndecodableEvent) as refused:
        parse_command(body)

    assert str(refused.value).startswith("submit.input: Value error, expected JSON")


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"raw"], ids=str)
def test_fields_that_are_no_json_make_no_event(value):
    """Fields that JSON has not are refused, and nothing else is raised."""
    with pytest.raises(UndecodableEvent) as refused:
        command_event(SUBMIT | {"input": {"x": value}}, source="cli", at=NOW)

    assert str(refused.value) == "data: not JSON"


def test_refusals_do_not_repeat_the_input():
    """A refusal is short and shows no value of the sender's, however large."""
    secret = "Key-" + "5" * 8192
    for fields in (
        {"command": secret},
        SUBMIT | {"endpoint": secret},
        SUBMIT | {"start_by": f"2026{secret}"},
        SUBMIT | {"tags": {"a": [secret]}},
        CANCEL | {"subject": secret},
        SUBMIT | {secret: 1},
    ):
        with pytest.raises(UndecodableEvent) as refused:
            parse_command(dump_json(fields))
        assert len(str(refused.value)) < 400


@given(st.sampled_from(GENUINE), st.text(max_size=9), json_values)
def test_any_mutation_is_a_command_or_undecodable(fields, name, value):
    """A command with any one field replaced or added is read or refused, and nothing else."""
    for changed in (*[fields | {key: value} for key in fields], fields | {name: value}):
        try:
            command = parse_command(json.dumps(changed).encode())
        except UndecodableEvent:
            continue
        assert COMMAND.validate_python(command.model_dump()) == command


@given(st.one_of(st.binary(max_size=20), json_values.map(dump_json)))
def test_any_bytes_are_a_command_or_undecodable(raw):
    """Any record value is a command or raises UndecodableEvent, and nothing else."""
    with pytest.raises(UndecodableEvent):
        parse_command(raw)
