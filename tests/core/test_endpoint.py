"""What may become part of a URL, against hostile ids."""

from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.endpoint import is_endpoint_id, is_request_id, request_path, submit_path
from tests.core.strategies import REQUEST_ID, texts

ENDPOINTS = [
    ("fal-ai/flux-2", "/fal-ai/flux-2", "/fal-ai/flux-2"),
    ("fal-ai/fast-sdxl/image-to-image", "/fal-ai/fast-sdxl/image-to-image", "/fal-ai/fast-sdxl"),
    ("a/b/c/d/e", "/a/b/c/d/e", "/a/b"),
    ("A_1.x-2/B..c", "/A_1.x-2/B..c", "/A_1.x-2/B..c"),
    ("110602490-lora", "/110602490/lora", "/110602490/lora"),
    ("1-2-3", "/1/2-3", "/1/2-3"),
    ("workflows/me/flow", "/workflows/me/flow", "/workflows/me/flow"),
    ("workflows/me/flow/sub", "/workflows/me/flow/sub", "/workflows/me/flow"),
    ("comfy/me/graph", "/comfy/me/graph", "/comfy/me/graph"),
    ("123-name/sub", "/123-name/sub", "/123-name/sub"),
]

HOSTILE = [
    "",
    "/",
    "//",
    "app",
    "a/",
    "/a",
    "a//b",
    "a/..",
    "../a",
    "a/.",
    "a/b/../../c",
    "a/b/..",
    "123-..",
    "123-.",
    "-name",
    "123-",
    "a-123",
    "workflows/me",
    "comfy/me",
    "workflows",
    "a/b?c=d",
    "a/b#c",
    "a/b%2e%2e",
    "a/%2e%2e",
    "a\\b",
    "a/b c",
    "a/b\n",
    "a/b\0",
    "a/\ud800",
    "a/é",
    "а/b",  # noqa: RUF001  a Cyrillic letter is the point
    "１２３-name",  # noqa: RUF001  full-width digits are the point
    "https://elsewhere.example/a",
    "@elsewhere.example/a",
    "elsewhere.example:80/a",
    "a/b;c",
    "a/" + "b" * 255,
]


@pytest.mark.parametrize("endpoint, submit, request_base", ENDPOINTS)
def test_endpoint_ids_have_their_paths(endpoint, submit, request_base):
    """An endpoint id is known as one, and its sub path is kept for submits only."""
    assert is_endpoint_id(endpoint)
    assert submit_path(endpoint) == submit
    assert request_path(endpoint, REQUEST_ID) == f"{request_base}/requests/{REQUEST_ID}"


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_ids_are_no_endpoints(text):
    """What could lead a URL elsewhere is no endpoint id."""
    assert not is_endpoint_id(text)


def test_length_is_bounded():
    """An endpoint id has at most 256 characters."""
    assert is_endpoint_id("a/" + "b" * 254)
    assert not is_endpoint_id("a/" + "b" * 255)


near_endpoints = st.text(st.sampled_from("ab12-./_%\\?#@: \n"), max_size=12)


@given(st.one_of(texts, near_endpoints))
def test_paths_lead_where_they_say(text):
    """Every accepted id makes paths that no URL parser reads as anything else."""
    if not is_endpoint_id(text):
        return
    for path in (submit_path(text), request_path(text, REQUEST_ID)):
        parts = urlsplit(f"https://queue.fal.run{path}")
        assert (parts.netloc, parts.path) == ("queue.fal.run", path)
        assert not {"", ".", ".."} & set(path.split("/")[1:])


@given(st.uuids(), st.sampled_from([str.lower, str.upper]))
def test_uuids_are_request_ids(uuid, cased):
    """A UUID in its usual form is a request id, in either case."""
    assert is_request_id(cased(str(uuid)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        REQUEST_ID.replace("-", ""),
        f"{{{REQUEST_ID}}}",
        f"urn:uuid:{REQUEST_ID}",
        REQUEST_ID + "\n",
        " " + REQUEST_ID[1:],
        REQUEST_ID[:-1] + "g",
        REQUEST_ID[:-1] + "٣",
        REQUEST_ID[:-1] + "\ud800",
        REQUEST_ID[:9] + "-" + REQUEST_ID[10:],
        "../" + REQUEST_ID[3:],
        "0" * 36,
        "7" * 8192,
    ],
    ids=ascii,
)
def test_other_spellings_are_no_request_ids(text):
    """Any other spelling of a UUID, and anything else, is no request id."""
    assert not is_request_id(text)


@given(texts)
def test_any_text_is_told_apart(text):
    """Any text is judged without an error, and what passes reads as a UUID."""
    assert not is_request_id(text) or UUID(text)
