"""Files are saved whole or not at all, from where they may come, under names of ours."""

import asyncio
import gzip
import hashlib
import json

import pytest
from aiohttp import web

from consumer.errors import InvariantBroken
from consumer.media.download import open_downloader
from consumer.media.part import PartFile
from consumer.media.places import parse_place
from tests.media.conftest import BODY, REQUEST_ID, cut_after, names, raw_host, told, whole

NAME = f"{REQUEST_ID}-01"


async def test_a_file_is_saved_whole_under_our_name(host, save, tmp_path):
    """The bytes are the host's, the name is the request's id, the extension the content type's."""
    host.handler = whole()

    [found] = await save(f"{host.url}/files/x.exe?name=../../y.sh")

    assert ("saved", len(BODY), "image/png") == (found.outcome, found.size, found.content_type)
    assert [f"{NAME}.png"] == names(tmp_path / "out")
    assert BODY == (tmp_path / "out" / f"{NAME}.png").read_bytes()


async def test_nothing_of_ours_travels_with_the_request(host, save, monkeypatch, tmp_path):
    """No key, no cookie, no entry of a .netrc, no encoding."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login us password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("FAL_KEY", "id:secret")
    host.handler = whole(**{"Set-Cookie": "a=b"})

    await save(f"{host.url}/files/a", f"{host.url}/files/b")

    for request in host.asked:
        assert not {"Authorization", "Cookie"} & set(request.headers)
        assert "identity" == request.headers["Accept-Encoding"]


async def test_a_cut_file_goes_on_where_it_was_cut(host, save, tmp_path):
    """The second request asks for the rest of the same version, and the sum is the file."""
    host.handler = cut_after(host, 100_000, whole())

    [found] = await save()

    assert ("saved", len(BODY)) == (found.outcome, found.size)
    assert BODY == found.path.read_bytes()
    first, second = host.ranges()
    assert first is None
    assert second.startswith("bytes=")
    assert second != "bytes=0-"
    assert '"v1"' == host.asked[1].headers["If-Range"]


async def test_a_later_run_goes_on(host, save, tmp_path):
    """What one run had to leave, the next one completes; then it is there already."""
    host.handler = cut_after(host, 150_000, whole())

    [left] = await save(tries=1)
    [found] = await save()
    [again] = await save()

    assert ("failed", "cut") == (left.outcome, left.reason)
    assert ["saved", "already_there"] == [found.outcome, again.outcome]
    assert BODY == found.path.read_bytes()
    assert host.ranges()[-1] not in (None, "bytes=0-")
    assert [f"{NAME}.png"] == names(tmp_path / "out")


async def test_a_run_that_is_interrupted_can_go_on(host, save, tmp_path):
    """Ctrl-C keeps what came, noted as synced, and the next run asks for the rest."""
    held = asyncio.Event()

    async def holds(request):
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY)), "ETag": '"v1"'})
        await response.prepare(request)
        await response.write(BODY[:100_000])
        await held.wait()
        return response

    host.handler = holds
    run = asyncio.create_task(save())
    await host.wait_until_held(100_000)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    held.set()
    host.handler = whole()

    [found] = await save()

    assert "bytes=100000-" == host.ranges()[-1]
    assert BODY == found.path.read_bytes()


async def test_what_was_not_synced_is_fetched_again(host, save, tmp_path):
    """After a power cut the end of a part may be zeros: only what was noted as synced counts."""
    host.handler = whole()
    folder = tmp_path / "out"
    folder.mkdir()
    url = f"{host.url}/files/a.png"
    part = PartFile.open(folder, NAME, hashlib.sha256(url.encode()).hexdigest())
    part.restart('"v1"', len(BODY), "image/png")
    part.write(BODY[:1000])
    part.checkpoint()
    part.close()
    with (folder / f"{NAME}.part").open("ab") as file:
        file.write(b"\0" * 5000)

    [found] = await save(url)

    assert ["bytes=1000-"] == host.ranges()
    assert BODY == found.path.read_bytes()


@pytest.mark.parametrize(
    "note",
    [
        "nonsense",
        "[]",
        "[" * 2000,
        json.dumps({"origin": "another", "validator": '"v1"', "synced": 3}),
        json.dumps({"validator": '"v1"', "synced": -1}),
        json.dumps({"validator": 1, "synced": "3"}),
    ],
)
async def test_a_part_of_something_else_is_begun_anew(host, save, tmp_path, note):
    """A part without a note that fits is no beginning of this file."""
    host.handler = whole()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{NAME}.part").write_bytes(b"old")
    (tmp_path / "out" / f"{NAME}.part.json").write_text(note)

    [found] = await save()

    assert [None] == host.ranges()
    assert BODY == found.path.read_bytes()


async def test_a_file_that_changed_meanwhile_is_begun_anew(host, save):
    """A new version answers whole, and nothing of the old one stays."""
    fresh = b"new" * 50_000
    host.handler = cut_after(host, 100_000, whole(fresh, ETag='"v2"'))

    [found] = await save()

    assert fresh == found.path.read_bytes()


@pytest.mark.parametrize("etag", ['W/"v1"', "", "no quotes", '"a b"'])
async def test_a_version_without_a_name_is_begun_anew(host, save, etag):
    """Without a strong tag nobody can ask for the rest of the same version."""
    host.handler = cut_after(host, 100_000, whole(), ETag=etag)

    [found] = await save()

    assert [None, None] == host.ranges()
    assert BODY == found.path.read_bytes()


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9/10", "bytes 7-262143/262144", "bytes 100000-5/262144", "nonsense"]
)
async def test_a_range_that_is_not_the_rest_is_not_taken(host, save, content_range):
    """An answer with other bytes than asked for makes it begin anew, never mixes them."""
    answers = iter([True])

    async def lies(request):
        if "Range" in request.headers and next(answers, False):
            return web.Response(
                status=206, body=b"x" * 10, headers={"Content-Range": content_range}
            )
        return await whole()(request)

    host.handler = cut_after(host, 100_000, lies)

    [found] = await save()

    assert BODY == found.path.read_bytes()


async def test_what_is_complete_is_not_asked_for_again(host, save, tmp_path):
    """A part that was whole when the run was killed gets its name: 416 with the same length."""
    host.handler = whole()
    folder = tmp_path / "out"
    folder.mkdir()
    url = f"{host.url}/files/a.png"
    part = PartFile.open(folder, NAME, hashlib.sha256(url.encode()).hexdigest())
    part.restart('"v1"', len(BODY), "image/png")
    part.write(BODY)
    part.checkpoint()
    part.close()

    [found] = await save(url)

    assert BODY == found.path.read_bytes()
    assert [f"bytes={len(BODY)}-"] == host.ranges()


async def test_a_host_that_always_cuts_is_given_up(host, save, tmp_path):
    """After some connections that brought nothing it fails, with what is to be done later."""
    host.handler = cut_after(host, 0, cut_after(host, 0, cut_after(host, 0, whole())))

    [found] = await save()

    assert ("failed", "cut") == (found.outcome, found.reason)
    assert 3 == len(host.asked)
    assert [] == names(tmp_path / "out")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(host, save, status):
    """Wherever it leads to, also to an allowed place."""

    async def answer(request):
        return web.Response(status=status, headers={"Location": f"{host.url}/files/b.png"})

    host.handler = answer

    assert [("refused", "redirect")] == told(await save())
    assert 1 == len(host.asked)


@pytest.mark.parametrize(
    "status, expected, tries",
    [
        (404, ("refused", "gone"), 1),
        (410, ("refused", "gone"), 1),
        (403, ("refused", "forbidden"), 1),
        (418, ("refused", "http_418"), 1),
        (204, ("refused", "http_204"), 1),
        (503, ("failed", "http_503"), 3),
        (429, ("failed", "http_429"), 3),
    ],
)
async def test_answers_without_a_file(host, save, tmp_path, status, expected, tries):
    """A no is told at once; trouble of the host is asked again a few times."""

    async def answer(request):
        return web.Response(status=status)

    host.handler = answer

    assert [expected] == told(await save())
    assert tries == len(host.asked)
    assert [] == names(tmp_path / "out")


@pytest.mark.parametrize(
    "answer, expected",
    [
        (b"Content-Length: 10\r\n\r\n12345", ("failed", "cut")),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", ("failed", "cut")),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", ("saved", "")),
        (b"\r\n12345", ("refused", "no_length")),
        (b"Content-Length: 0\r\n\r\n", ("refused", "empty")),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ("refused", "empty")),
        (b"Content-Length: many\r\n\r\n12345", ("refused", "unreadable_answer")),
        (b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\n12345", ("refused", "encoded")),
    ],
)
async def test_lengths_are_checked(tmp_path, save, answer, expected):
    """What ends before its length, or tells none, is not taken for a file."""
    async with raw_host(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + answer) as url:
        found = await save(f"{url}/a", places=(parse_place(url),))

    assert [expected] == told(found)
    is_saved = expected[0] == "saved"
    assert is_saved is (tmp_path / "out" / f"{NAME}.png").exists()


async def test_a_part_of_another_length_than_told_is_refused(host, save):
    """A range whose Content-Length is not the range's own length is nobody's file."""

    async def lies(request):
        first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {first}-{len(BODY) - 1}/{len(BODY)}"
        return web.Response(status=206, body=b"x", headers={"Content-Range": content_range})

    host.handler = cut_after(host, 100_000, lies)

    assert [("refused", "wrong_length")] == told(await save())


async def test_no_compressed_bomb_is_opened(host, save):
    """An encoding that was not asked for is refused, not inflated."""
    bomb = gzip.compress(b"\0" * 10_000_000)
    host.handler = whole(bomb, **{"Content-Encoding": "gzip"})

    assert [("refused", "encoded")] == told(await save(max_file_bytes=1_000_000))


async def test_a_file_over_the_limit_is_not_fetched(host, save, tmp_path):
    """Its length is told before its bytes: nothing stays."""
    host.handler = whole()

    assert [("refused", "too_large")] == told(await save(max_file_bytes=len(BODY) - 1))
    assert [] == names(tmp_path / "out")


async def test_an_endless_body_ends_at_the_limit(host, save, tmp_path):
    """A body that tells no length is cut at the limit, and nothing stays."""

    async def endless(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    host.handler = endless

    assert [("refused", "too_large")] == told(await save(max_file_bytes=1_000_000))
    assert [] == names(tmp_path / "out")


async def test_all_files_together_are_limited(host, save, tmp_path):
    """Files that would go over the limit of all are refused; the others are saved."""
    host.handler = whole()
    urls = [f"{host.url}/files/{number}" for number in range(4)]

    found = await save(*urls, max_total_bytes=2 * len(BODY) + 5, at_once=1)

    refused = ("refused", "total_too_large")
    assert [("saved", ""), ("saved", ""), refused, refused] == told(found)


async def test_a_port_that_nobody_has_is_no_connection(host, save, unused_tcp_port):
    """It fails, and says that no connection was made."""
    url = f"http://127.0.0.1:{unused_tcp_port}"

    found = await save(f"{url}/a.png", places=(parse_place(url),))

    assert [("failed", "no_connection")] == told(found)


async def test_a_silent_host_is_left(host, save):
    """A connection that brings nothing is cut at its deadline."""
    hold = asyncio.Event()

    async def silent(request):
        await hold.wait()
        return web.Response()

    host.handler = silent

    assert [("failed", "cut")] == told(await save(tries=1, quiet_s=0.05))
    hold.set()


async def test_a_slow_file_is_left_for_later(host, save, tmp_path):
    """A file has a deadline in all; what came until then stays for the next run."""

    async def drips(request):
        response = web.StreamResponse(headers={"Content-Length": "100000", "ETag": '"v1"'})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        except ConnectionError:
            return response

    host.handler = drips

    assert [("failed", "too_slow")] == told(await save(file_s=0.2))
    assert [f"{NAME}.part", f"{NAME}.part.json"] == names(tmp_path / "out")


async def test_two_runs_at_once_do_not_mix(host, save, tmp_path):
    """While one run is at a file, another leaves it alone."""
    host.handler = whole()
    folder = tmp_path / "out"
    folder.mkdir()
    part = PartFile.open(folder, NAME, "")

    [found] = await save()
    part.close()

    assert ("refused", "busy") == (found.outcome, found.reason)
    assert [] == host.asked


async def test_a_link_in_the_folder_is_not_written_through(host, save, tmp_path):
    """A symbolic link where a part would be is not followed."""
    host.handler = whole()
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / f"{NAME}.part").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError):
        await save()

    assert "mine" == (tmp_path / "precious").read_text()


async def test_a_folder_that_cannot_be_written_is_an_error_of_the_disk(host, save, tmp_path):
    """It is raised as it is, for the caller knows the folder."""
    host.handler = whole()
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(OSError):
        await save(folder=tmp_path / "taken" / "out")


async def test_progress_is_told(host, tmp_path):
    """Each file tells how much of it is here, up to its whole length."""
    host.handler = whole()
    seen = []
    place = parse_place(f"{host.url}/files/")
    async with open_downloader([place]) as downloader:
        await downloader.save(
            tmp_path, REQUEST_ID, [f"{host.url}/files/a"], lambda *moved: seen.append(moved)
        )

    assert (1, len(BODY), len(BODY)) == seen[-1]
    assert sorted(seen) == seen


@pytest.mark.parametrize(
    "content_type, extension",
    [
        ("image/jpeg; charset=x", ".jpg"),
        ("VIDEO/MP4", ".mp4"),
        ("text/html", ".bin"),
        ("../../etc/passwd", ".bin"),
        ("application/x-sh", ".bin"),
    ],
)
async def test_extensions_are_of_a_list(host, save, content_type, extension):
    """The content type chooses one of our extensions; whatever is no media is `.bin`."""
    host.handler = whole(content_type=content_type)

    [found] = await save()

    assert f"{NAME}{extension}" == found.path.name


async def test_a_name_is_made_of_a_request_id_and_nothing_else(host, tmp_path):
    """What is no UUID never becomes part of a path."""
    async with open_downloader([]) as downloader:
        with pytest.raises(InvariantBroken):
            await downloader.save(tmp_path, "../../x", [])
