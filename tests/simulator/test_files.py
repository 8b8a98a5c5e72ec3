"""Files of results, where the simulator serves them itself."""

import zlib

import aiohttp
import pytest

from consumer.simulator import Simulator, SimulatorConfig

PNG = b"\x89PNG\r\n\x1a\n"


async def test_an_output_names_a_file_that_is_there(web):
    """With `has_files` the URL of an output leads to a picture, the same each time."""
    async with Simulator(SimulatorConfig(seed=1, time_scale=0.001, has_files=True)) as sim:
        url = await _file_of(sim, web)
        assert url.startswith(f"{sim.url}/files/b/")
        first = await _read(web, url)
        again = await _read(web, url)

    assert (200, "image/png") == first[:2]
    assert first == again
    assert first[2].startswith(PNG)
    width = 128
    assert width == int.from_bytes(first[2][16:20])
    start = first[2].index(b"IDAT") + 4
    assert width * (3 * width + 1) == len(zlib.decompressobj().decompress(first[2][start:]))


@pytest.mark.parametrize(
    "asked, version, status, begins",
    [
        ("bytes=4-", None, 206, 4),
        ("bytes=4-", '"another"', 200, 0),
        ("bytes=nonsense", None, 200, 0),
        ("bytes=9999999-", None, 416, None),
    ],
)
async def test_the_rest_of_a_file_can_be_asked_for(web, asked, version, status, begins):
    """A range of the same version is answered with the rest; of another with the whole."""
    async with Simulator(SimulatorConfig(seed=1, has_files=True)) as sim:
        url = f"{sim.url}/files/b/0aa27b79/a.png"
        whole = (await _read(web, url))[2]
        headers = {"Range": asked} | ({"If-Range": version} if version else {})
        part = await _read(web, url, headers)

    assert status == part[0]
    assert begins is None or whole[begins:] == part[2]


async def test_without_it_files_are_named_where_fal_has_them(web):
    """As a rule outputs name fal's own host, which nobody here serves."""
    async with Simulator(SimulatorConfig(seed=1, time_scale=0.001)) as sim:
        url = await _file_of(sim, web)

    assert url.startswith("https://v3b.fal.media/files/b/")


@pytest.fixture
async def web():
    async with aiohttp.ClientSession() as session:
        yield session


async def _file_of(sim: Simulator, session) -> str:
    """Return the URL of the first file of a job that succeeded."""
    headers = {"Authorization": "Key a:b"}
    call = session.post(f"{sim.url}/fal-ai/flux/dev", json={"prompt": "x"}, headers=headers)
    async with call as answer:
        url = (await answer.json())["response_url"]
    assert await sim.wait_idle()
    async with session.get(url, headers=headers) as answer:
        return (await answer.json())["images"][0]["url"]


async def _read(session, url, headers=None):
    async with session.get(url, headers=headers) as answer:
        return answer.status, answer.content_type, await answer.read()
