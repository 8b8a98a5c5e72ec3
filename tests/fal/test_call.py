"""What an answer tells about itself."""

import pytest

from consumer.fal.call import Answer, Call


@pytest.mark.parametrize(
    "content_type, body, expected",
    [
        ("text/html; charset=utf-8", b"", True),
        ("", b"  <!DOCTYPE html><title>", True),
        ("application/json", b"<html>", True),
        ("image/svg+xml", b"<svg>", False),
        ("application/json", b"{}", False),
    ],
)
def test_page_is_told_by_type_or_start(content_type, body, expected):
    """An HTML page is one by its type or by how it begins; other markup is not."""
    assert Answer(200, {"Content-Type": content_type}, body).is_page is expected


def test_neither_call_nor_answer_shows_what_it_carries():
    """Query, headers and bodies stay out of every `repr`."""
    call = Call("submit", "POST", "/a/b", 1, "fal_webhook=SECRET", {"X": "SECRET"}, body=b"SECRET")
    answer = Answer(200, {"X": "SECRET"}, b"SECRET")

    assert "SECRET" not in f"{call!r} {answer!r}"
