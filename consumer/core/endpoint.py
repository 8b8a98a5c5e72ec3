"""
Endpoint ids, request ids, and the paths built from them.

Whatever does not fit the grammar here never becomes part of a URL.
"""

import re
from uuid import UUID

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+")
_LEGACY = re.compile(r"([0-9]+)-([A-Za-z0-9_.-]+)")
_NAMESPACES = ("workflows", "comfy")
_DOTS = (".", "..")
_MAX_CHARS = 256


def is_endpoint_id(text: str) -> bool:
    """
    Tell whether `text` is an endpoint id: `owner/app[/path…]`, or the legacy `123-name`.

    Segments of `[A-Za-z0-9_.-]+`, none of them `.` or `..`; three at least in the
    namespaces `workflows/` and `comfy/`.
    Source: fal docs, "Queue", and the official clients' parsers (fal-client 1.0.3).
    """
    if len(text) > _MAX_CHARS:
        return False
    segments = text.split("/")
    if not all(_SEGMENT.fullmatch(part) and part not in _DOTS for part in segments):
        return False
    if len(segments) == 1:
        legacy = _LEGACY.fullmatch(text)
        return legacy is not None and legacy[2] not in _DOTS  # its name becomes a segment
    return len(segments) >= (3 if segments[0] in _NAMESPACES else 2)


def submit_path(endpoint: str) -> str:
    """Return the path that takes a submit: the whole endpoint id, a legacy one split."""
    legacy = _LEGACY.fullmatch(endpoint) if "/" not in endpoint else None
    return f"/{legacy[1]}/{legacy[2]}" if legacy else f"/{endpoint}"


def request_path(endpoint: str, request_id: str) -> str:
    """
    Return the path of one request: the app's id (sub path dropped), `requests`, the id.

    Source: the official clients, and URLs recorded in 2026: status with the sub path kept
    is answered 405.
    """
    segments = submit_path(endpoint).split("/")[1:]
    app = segments[: 3 if segments[0] in _NAMESPACES else 2]
    return f"/{'/'.join(app)}/requests/{request_id}"


def is_request_id(text: str) -> bool:
    """Tell whether `text` is a UUID in its usual form of 36 characters, as request ids are."""
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False
