"""Asking a running `serve`: what the desk sees, and when it gives up."""

import pytest

from consumer.cli.following import command_of, open_desk, refuse_dead_letters, remedy
from consumer.cli.terminal import Failed
from consumer.core.event import NewRecord, Topic, encode
from consumer.errors import NoService
from consumer.folder import DataFolder
from consumer.ledger.migration import migrate
from consumer.log.embedded import EmbeddedLog
from consumer.settings import Settings

SUBJECT = "019f6af7-3088-7f03-b97d-84fec4a3ce12"


def cancel():
    return command_of({"command": "cancel", "command_id": "c-1", "subject": SUBJECT})


def letter(command) -> NewRecord:
    """Return the command as the worker sets it aside."""
    record = encode(command)
    added = (("dlreason", b"unknown_subject"), ("dlproblem", b"no such request"))
    return NewRecord(Topic.DEAD_LETTERS, record.key, record.value, (*record.headers, *added))


@pytest.fixture
async def settings(folder, fixed_clock):
    """Return the settings of a folder with a log and a ledger."""
    folder.path.mkdir()
    await migrate(folder.path / "ledger.sqlite")
    async with EmbeddedLog.open(folder.path / "log", clock=fixed_clock):
        pass
    return Settings(data_dir=folder.path)


async def test_it_sees_what_follows_from_a_command(settings):
    """The desk gives the records that came after the command, each once."""
    with DataFolder(settings.data_dir).held():
        async with open_desk(settings) as desk:
            await desk.log.append(letter(cancel()))
            await desk.ask(cancel())
            await desk.log.append(letter(cancel()))

            news, more = await desk.look(), await desk.look()

    assert [Topic.DEAD_LETTERS] == [record.position.topic for record in news]
    assert [] == more


async def test_a_command_set_aside_is_a_refusal(settings):
    """The dead letter of our command is told with its problem and a remedy; another's is not."""
    other = command_of({"command": "cancel", "command_id": "c-2", "subject": SUBJECT})
    with DataFolder(settings.data_dir).held():
        async with open_desk(settings) as desk:
            await desk.ask(cancel())
            await desk.log.append(letter(cancel()))
            news = await desk.look()

    refuse_dead_letters(news, other)
    with pytest.raises(Failed) as caught:
        refuse_dead_letters(news, cancel())
    assert ("refused: no such request", remedy("unknown_subject")) == (
        caught.value.message,
        caught.value.hint,
    )


async def test_a_serve_that_goes_is_noticed(settings):
    """When nobody holds the folder any more, waiting ends, and says that nothing is given up."""
    with DataFolder(settings.data_dir).held():
        desk_of = open_desk(settings)
        desk = await desk_of.__aenter__()
    try:
        await desk.ask(cancel())
        with pytest.raises(NoService, match="stopped meanwhile"):
            await desk.look()
    finally:
        await desk_of.__aexit__(None, None, None)


async def test_without_a_holder_there_is_no_desk(settings):
    """A folder that nobody serves is refused before anything is opened."""
    with pytest.raises(Failed, match="no `fal-consumer serve` runs"):
        async with open_desk(settings):
            pass
