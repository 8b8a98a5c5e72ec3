"""Marks of replayed records, what a dead letter was, and the facts about replays."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.command import command_event
from consumer.core.event import Event, EventType, NewRecord, Topic, decode, encode, format_time
from consumer.core.fact import FactName, Witness, fact_from
from consumer.core.replay import (
    LETTER_HEADERS,
    MARKS,
    MAX_REASON_CHARS,
    REPLAYS,
    Replay,
    attempts_before,
    checked_reason,
    is_for_readers,
    is_meant_for,
    is_replayed,
    letter_of,
    marked,
    origin_place,
    original_of,
    replay_event,
    replay_in,
    replayed_at,
    replayed_letters,
)
from consumer.errors import UndecodableEvent
from tests.core.strategies import NOW, REQUEST_ID, texts, utf8_texts

BY = Replay("r1", "ünderstood now", NOW, "tests")
COMMAND = {"command": "cancel", "command_id": "c1", "subject": REQUEST_ID}
ORIGINAL = encode(command_event(COMMAND, source="tests", at=NOW))
SIGNED = encode(
    Event(
        EventType.WEBHOOK_COMPLETION,
        "id",
        "https://keys.example",
        REQUEST_ID,
        NOW,
        b"\xff signed",
        {"falsignature": "ab" * 64, "faltimestamp": "1", "faluserid": "github|1"},
    )
)


def letter(record: NewRecord = ORIGINAL, **told: str) -> NewRecord:
    """Return the dead letter of a record."""
    told = {"reason": "undecodable", "origin": "commands/2/17", "handler": "commands"} | told
    added = tuple((f"dl{name}", text.encode()) for name, text in told.items())
    return NewRecord(Topic.DEAD_LETTERS, record.key, record.value, record.headers + added)


# ---------------------------------------------------------------- marks


@pytest.mark.parametrize("record", [ORIGINAL, SIGNED])
def test_a_copy_is_the_same_event_with_marks(record):
    """A marked record keeps topic, key, bytes, id, time and evidence, and says why it is there."""
    copy = marked(record, BY, of="commands/2/17", handler="fetch", attempts=3)

    event, original = decode(copy.headers, copy.value), decode(record.headers, record.value)
    marks = {name: event.extensions[name] for name in MARKS}
    rest = {name: text for name, text in event.extensions.items() if name not in MARKS}
    assert (record.topic, record.key, record.value) == (copy.topic, copy.key, copy.value)
    assert (original.id, original.time, original.extensions) == (event.id, event.time, rest)
    assert {
        "falreplay": "r1",
        "falreplayreason": "ünderstood now",
        "falreplayat": format_time(NOW),
        "falreplayof": "commands/2/17",
        "falreplayhandler": "fetch",
        "falreplayattempts": "3",
    } == marks


def test_marks_are_cloudevents_attributes():
    """Each mark is of lower-case letters, as CloudEvents demands of a name."""
    assert all(name.isalpha() and name.islower() and len(name) <= 20 for name in MARKS)


def test_a_copy_of_a_copy_has_the_marks_of_the_last():
    """A record that is replayed again says only what the last replay says, and can be read."""
    first = marked(ORIGINAL, BY, of="a/0/0", handler="fetch", attempts=3)

    again = marked(first, Replay("r2", "again", NOW, "tests"), of="b/0/1")

    extensions = decode(again.headers, again.value).extensions
    assert ("r2", "b/0/1") == (extensions["falreplay"], extensions["falreplayof"])
    assert not {"falreplayhandler", "falreplayattempts"} & extensions.keys()


def test_what_marks_say_is_found():
    """A marked record is known as one, by its headers and by its event's attributes."""
    copy = marked(ORIGINAL, BY, of="a/0/0", attempts=3)
    attributes = decode(copy.headers, copy.value).extensions

    assert ("r1", 3, True) == (
        replay_in(copy.headers),
        attempts_before(copy.headers),
        is_replayed(attributes),
    )
    assert (None, 0, False) == (
        replay_in(ORIGINAL.headers),
        attempts_before(ORIGINAL.headers),
        is_replayed({}),
    )


@pytest.mark.parametrize(
    "handler, meant_for, for_readers",
    [("", {"fetch", "record"}, True), ("fetch", {"fetch"}, False)],
)
def test_a_replay_may_be_for_one_handler(handler, meant_for, for_readers):
    """A replay for one handler is for nobody else, readers of the topic included."""
    copy = marked(ORIGINAL, BY, of="a/0/0", handler=handler)
    attributes = decode(copy.headers, copy.value).extensions

    assert meant_for == {name for name in ("fetch", "record") if is_meant_for(attributes, name)}
    assert for_readers is is_for_readers(copy.headers)


@pytest.mark.parametrize(
    "text, at",
    [
        (format_time(NOW), NOW),
        (format_time(NOW + timedelta(seconds=1)), None),
        ("soon", None),
        (None, None),
    ],
)
def test_a_replay_is_never_of_the_future(text, at):
    """The time of a replay is believed unless it is none, or has not come yet."""
    assert at == replayed_at({"falreplayat": text} if text else {}, NOW)


@given(st.binary(max_size=12))
def test_attempts_are_a_count_or_none(text):
    """Whatever stands in the mark of attempts, it is a count that fits."""
    assert 0 <= attempts_before((("ce_falreplayattempts", text),)) < 10**9


# ---------------------------------------------------------------- reasons


@given(utf8_texts)
def test_a_reason_is_one_printable_line_or_refused(text):
    """A reason is short and printable, whatever was given, or it is refused."""
    try:
        reason = checked_reason(text)
    except ValueError:
        return
    assert reason.isprintable()
    assert 1 <= len(reason) <= MAX_REASON_CHARS
    assert reason == checked_reason(reason)


@pytest.mark.parametrize("text", ["", " \n", "\x1b[31m", "\ud800", "x" * (MAX_REASON_CHARS + 1)])
def test_what_is_no_reason_is_refused(text):
    """Nothing, too much, and what a terminal or a header would not bear is no reason."""
    with pytest.raises(ValueError, match="printable"):
        checked_reason(text)


# ---------------------------------------------------------------- dead letters


def test_a_letter_says_what_it_was():
    """A letter's headers tell why, where from, by whom and how often."""
    told = letter_of(letter(problem="it is no JSON", attempts="4").headers)

    assert ("undecodable", "it is no JSON", "commands", "commands/2/17", 4) == (
        told.reason,
        told.problem,
        told.handler,
        told.origin,
        told.attempts,
    )
    assert ("c1", EventType.COMMAND.value, "", None, None) == (
        told.event_id,
        told.event_type,
        told.replay,
        told.omitted_bytes,
        told.set_aside_at,
    )


def test_the_receivers_letter_has_its_time():
    """A letter of the receiver names no handler and no place, but its time."""
    told = letter_of(letter(origin="receiver", handler="", time=format_time(NOW)).headers)

    assert ("", None, NOW, 1) == (
        told.handler,
        origin_place(told),
        told.set_aside_at,
        told.attempts,
    )


@pytest.mark.parametrize(
    "record, origin, home",
    [
        (ORIGINAL, "commands/2/17", Topic.COMMANDS),
        (ORIGINAL, "lifecycle/0/1", Topic.LIFECYCLE),
        (ORIGINAL, "receiver", Topic.COMMANDS),
        (SIGNED, "receiver", Topic.COMPLETIONS),
        (SIGNED, "completions/x/1", Topic.COMPLETIONS),
    ],
)
def test_a_letter_is_undone(record, origin, home):
    """What a letter was has its bytes and headers, on the topic where it stood or belongs."""
    found = original_of(letter(record, origin=origin, time="x", problem="p", attempts="1"))

    assert NewRecord(home, record.key, record.value, record.headers) == found


@pytest.mark.parametrize(
    "told, part",
    [
        ({"omitted": "120"}, "dlomitted"),
        ({"origin": "dead-letters/0/1"}, "dlorigin"),
    ],
)
def test_what_cannot_be_undone_is_refused(told, part):
    """A letter without its bytes, or of a dead letter, is refused by the header that says so."""
    with pytest.raises(UndecodableEvent) as refused:
        original_of(letter(**told))

    assert part == refused.value.part


def test_a_letter_without_a_topic_is_refused():
    """Where neither the origin nor the event's type tells a topic, there is none to go back to."""
    bare = NewRecord(Topic.DEAD_LETTERS, "key", b"", (("dlorigin", b"elsewhere"),))

    with pytest.raises(UndecodableEvent) as refused:
        original_of(bare)

    assert "dlorigin: tells no topic, and no event type does" == str(refused.value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*LETTER_HEADERS, "ce_type", "ce_id", "ce_falreplay"]),
            st.one_of(
                st.binary(max_size=9),
                texts.map(lambda text: text.encode("utf-8", "replace")),
                st.sampled_from([b"commands/0/1", b"receiver", b"fal-consumer.fact.v1", b"9" * 30]),
            ),
        ),
        max_size=9,
    )
)
def test_any_headers_are_a_letter_to_read(pairs):
    """Whatever headers a letter has, it is read, and undone or refused, and nothing else."""
    record = NewRecord(Topic.DEAD_LETTERS, "key", b"v", tuple(pairs))

    told = letter_of(record.headers)
    origin_place(told)
    try:
        found = original_of(record)
    except UndecodableEvent:
        return
    assert not LETTER_HEADERS.keys() & dict(found.headers).keys()


# ---------------------------------------------------------------- facts


def test_a_replay_is_told_by_facts_under_one_key():
    """What was asked for and what was done are facts about no request, each with its own id."""
    asked = replay_event(FactName.REPLAY_ASKED, BY, at=NOW, detail={"topic": "results"})
    done = [
        replay_event(FactName.REPLAYED, BY, at=NOW, detail={"letters": [f"0/{n}"]}, part=n)
        for n in (1, 2)
    ]

    record = encode(asked)
    fact = fact_from(decode(record.headers, record.value))
    assert (Topic.LIFECYCLE, REPLAYS) == (record.topic, record.key)
    assert (FactName.REPLAY_ASKED, Witness.OPERATOR, "") == (
        fact.name,
        fact.witness,
        fact.request_id,
    )
    assert {"replay": "r1", "reason": "ünderstood now", "topic": "results"} == fact.detail
    assert 3 == len({asked.id, *(event.id for event in done)})
    assert [["0/1"], ["0/2"]] == [list(replayed_letters(fact_from(event))) for event in done]


def test_other_facts_tell_of_no_letters():
    """A fact that only asks, or names no list, replayed no letter."""
    asked = replay_event(FactName.REPLAY_ASKED, BY, at=NOW, detail={"letters": ["0/1"]})
    odd = replay_event(FactName.REPLAYED, BY, at=NOW, detail={"letters": 3})

    assert [[], []] == [list(replayed_letters(fact_from(event))) for event in (asked, odd)]
