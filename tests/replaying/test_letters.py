"""Dead letters: finding them, and putting back what they were."""

from dataclasses import replace

import pytest

from consumer.core.event import NewRecord, Topic
from consumer.core.fact import FactName
from consumer.core.replay import letter_of
from consumer.replaying import Wanted, find_letters, letter_at, replay_letters
from consumer.setting_aside import without_bytes
from tests.replaying.stand import SECOND, T0


async def replayed(stand, letters, number=1):
    """Put letters back and return the replayer."""
    replayer = stand.replayer(number)
    await replay_letters(stand.log, replayer, stand.replay(number), letters)
    return replayer


async def test_letters_are_found_oldest_first(stand):
    """Every letter is listed with what it says, when it was set aside, and its size."""
    for number in (1, 2):
        await stand.set_aside(await stand.command(number), attempt=number)

    found = await find_letters(stand.log, Wanted())

    assert [("c1", 1), ("c2", 2)] == [(f.letter.event_id, f.letter.attempts) for f in found]
    assert [T0 + SECOND, T0 + 3 * SECOND] == [f.set_aside_at for f in found]
    assert all(f.size > 0 and f.replayed_at is None and f.key for f in found)


@pytest.mark.parametrize(
    "wanted, ids",
    [
        (Wanted(reasons=frozenset({"unverified"})), ["c2"]),
        (Wanted(reasons=frozenset({"unverified", "undecodable"})), ["c1", "c2"]),
        (Wanted(ids=frozenset({"c1", "c9"})), ["c1"]),
        (Wanted(handler="commands"), ["c1", "c2"]),
        (Wanted(handler="fetch"), []),
        (Wanted(key="nobody"), []),
    ],
)
async def test_letters_can_be_chosen(stand, wanted, ids):
    """By reason, by name, by handler, by key."""
    await stand.set_aside(await stand.command(1))
    await stand.set_aside(await stand.command(2), "unverified")

    assert ids == [found.letter.event_id for found in await find_letters(stand.log, wanted)]


async def test_a_letter_goes_back_as_it_was(stand):
    """What is put back has its own topic, key, bytes and headers, for the handler that failed."""
    original = await stand.command()
    letter = await stand.set_aside(original, attempt=3)

    replayer = await replayed(stand, await find_letters(stand.log, Wanted()))

    (copy,) = stand.copies()
    marks = {name: text for name, text in copy.headers if name.startswith("ce_falreplay")}
    rest = tuple(header for header in copy.headers if header[0] not in marks)
    assert (original.position.topic, original.key, original.value, original.headers) == (
        copy.position.topic,
        copy.key,
        copy.value,
        rest,
    )
    of = f"dead-letters/{letter.position.partition}/{letter.position.offset}".encode()
    assert (of, b"commands", b"3") == (
        marks["ce_falreplayof"],
        marks["ce_falreplayhandler"],
        marks["ce_falreplayattempts"],
    )
    assert (1, []) == (replayer.tally.replayed, replayer.tally.refused)


async def test_a_letter_that_dies_again_counts_on(stand):
    """The second letter of a record says how often it was tried in all, and by which replay."""
    await stand.set_aside(await stand.command(), attempt=3)
    await replayed(stand, await find_letters(stand.log, Wanted()))
    (copy,) = stand.copies()

    second = await stand.set_aside(copy, attempt=2)

    told = letter_of(second.headers)
    assert (5, "r1") == (told.attempts, told.replay)


async def test_what_was_put_back_is_known(stand):
    """A letter that was put back says when, and is no longer among those that wait."""
    await stand.set_aside(await stand.command(1))
    (first,) = await find_letters(stand.log, Wanted())
    at = stand.now
    await replayed(stand, [first])
    await stand.set_aside(await stand.command(2))

    every = await find_letters(stand.log, Wanted())
    waiting = await find_letters(stand.log, Wanted(waiting_only=True))

    assert [at, None] == [found.replayed_at for found in every]
    assert ["c2"] == [found.letter.event_id for found in waiting]
    (done,) = stand.facts(FactName.REPLAYED)
    assert [first.id] == done.detail["letters"]


async def test_facts_of_others_are_no_replays(stand):
    """What nobody can read among the facts about replays is passed over."""
    await stand.set_aside(await stand.command())
    await replayed(stand, await find_letters(stand.log, Wanted()))
    (fact, *_) = stand.log.records(Topic.LIFECYCLE)
    await stand.put(fact.key, b"no fact", topic=Topic.LIFECYCLE)

    assert 1 == len(await find_letters(stand.log, Wanted()))


async def test_the_receivers_letter_goes_where_its_event_belongs(stand):
    """A letter of the receiver goes to the topic of its event's type, for every handler."""
    headers = (
        ("ce_type", b"fal-consumer.completion.webhook.v1"),
        ("dlorigin", b"receiver"),
        ("dlattempts", b"1"),
    )
    await stand.put("a", b"\xff", topic=Topic.DEAD_LETTERS, headers=headers)

    await replayed(stand, await find_letters(stand.log, Wanted()))

    (copy,) = stand.copies()
    assert (Topic.COMPLETIONS, b"\xff") == (copy.position.topic, copy.value)
    assert "ce_falreplayhandler" not in dict(copy.headers)


async def test_a_letter_without_its_bytes_is_read_where_they_stand(stand):
    """Where the letter had to leave the bytes out, the record itself is put back."""
    original = await stand.command()
    letter = await stand.set_aside(original)
    await _leave_out_bytes(stand, letter)
    (_, note) = await find_letters(stand.log, Wanted())

    await replayed(stand, [note])

    (copy,) = stand.copies()
    assert (original.value, b"commands") == (copy.value, dict(copy.headers)["ce_falreplayhandler"])


async def test_what_cannot_be_put_back_is_told(stand):
    """Letters whose bytes are gone, or that tell no topic, are named; the others go back."""
    original = await stand.command()
    letter = await stand.set_aside(original)
    await _leave_out_bytes(stand, letter)
    await stand.put("x", topic=Topic.DEAD_LETTERS, headers=(("dlorigin", b"elsewhere"),))
    gone = (("dlorigin", b"elsewhere"), ("dlomitted", b"7"))
    await stand.put("y", topic=Topic.DEAD_LETTERS, headers=gone)
    place = (original.position.topic, original.position.partition)
    stand.log.forget(*place, before=original.position.offset + 1)
    letters = await find_letters(stand.log, Wanted())

    replayer = await replayed(stand, letters)

    assert (1, 3) == (replayer.tally.replayed, len(replayer.tally.refused))
    (done,) = stand.facts(FactName.REPLAYED)
    assert [letters[0].id] == done.detail["letters"]


async def test_many_letters_are_told_in_parts(stand):
    """Every hundred letters have a fact of their own, so that a cut forgets few."""
    headers = (("dlorigin", b"commands/0/0"), ("dlhandler", b"commands"))
    for number in range(150):
        await stand.put(str(number), b"1", topic=Topic.DEAD_LETTERS, headers=headers)
    letters = await find_letters(stand.log, Wanted())

    replayer = await replayed(stand, letters)

    parts = [fact.detail["letters"] for fact in stand.facts(FactName.REPLAYED)]
    assert ([100, 50], 150) == ([len(part) for part in parts], replayer.tally.replayed)
    assert {found.id for found in letters} == {name for part in parts for name in part}


async def test_a_letter_is_read_where_it_stands(stand):
    """A letter is there to be shown, until retention took it."""
    letter = await stand.set_aside(await stand.command())
    (found,) = await find_letters(stand.log, Wanted())

    there = await letter_at(stand.log, found)
    stand.log.forget(Topic.DEAD_LETTERS, letter.position.partition, before=1)

    assert (letter, None) == (there, await letter_at(stand.log, found))


async def _leave_out_bytes(stand, letter):
    """Append the note that stands for a letter which the log refused."""
    whole = NewRecord(Topic.DEAD_LETTERS, letter.key, letter.value, letter.headers)
    note = without_bytes(replace(whole), len(letter.value))
    await stand.put(note.key, note.value, topic=note.topic, headers=note.headers)
