"""Words that the tests of the verbs that ask fal share."""

import json

ENDPOINT = "fal-ai/flux/dev"
UNKNOWN_ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"


def submitted(folder, content: str = '{"prompt": "a cat"}') -> str:
    """Return the id of a request that was submitted directly."""
    shown = folder.run("submit", ENDPOINT, "--direct", "--input", "-", stdin=content)
    assert 0 == shown.returncode, shown.stderr
    return shown.stdout.strip()


def ended(folder, content: str = '{"prompt": "a cat"}') -> str:
    """Return the id of a request that was submitted directly and is completed."""
    request_id = submitted(folder, content)
    assert 0 == folder.run("stream", ENDPOINT, request_id).returncode
    return request_id


def line(shown) -> dict:
    """Return the one JSON line of standard output."""
    [text] = shown.stdout.splitlines()
    return json.loads(text)
