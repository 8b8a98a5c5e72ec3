"""
An order to submit, as the call that is sent: judged whole before any URL is built. Pure.
"""

import math
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit

from consumer.core.endpoint import is_endpoint_id, submit_path
from consumer.core.submit_options import SubmitOptions
from consumer.core.text import dump_json
from consumer.fal.call import Call
from consumer.ports import SubmitOrder

# Source: fal docs, "Tags" of the platform, 2026: at most 10 pairs, 1024 bytes in all.
_TAG_KEY = re.compile(r"[a-z0-9._-]{1,64}")
_TAG_VALUE = re.compile(r"[^,\x00-\x1f\x7f-\x9f]{1,256}")
_MAX_TAGS = 10
_MAX_TAG_BYTES = 1024
_RESERVED_TAG = "fal."

_MIN_START_TIMEOUT_S = 0.1  # and more than that (fal docs, "Platform headers", 2026-10-07)
_CALLBACK = re.compile(r"[\x21-\x7e]{1,4096}")


class UnfitOrder(ValueError):
    """fal would refuse this order, or could not read it; `reason` is a word for its sender."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def submit_call(order: SubmitOrder, max_bytes: int) -> Call:
    """Return the call that submits this order. Raises UnfitOrder, and nothing else."""
    if not is_endpoint_id(order.endpoint):
        raise UnfitOrder("bad_endpoint")
    try:
        body = dump_json(dict(order.input))
    except (TypeError, ValueError) as exc:
        raise UnfitOrder("bad_input") from exc
    return Call(
        "submit",
        "POST",
        submit_path(order.endpoint),
        max_bytes,
        query="&".join(_query(order)),
        headers={"Content-Type": "application/json", **_headers(order)},
        is_unrepeatable=True,
        body=body,
    )


def _query(order: SubmitOrder) -> Iterator[str]:
    if order.callback_url:
        yield f"fal_webhook={_callback(order.callback_url)}"
    if order.options.max_queue_length is not None:
        yield f"fal_max_queue_length={order.options.max_queue_length}"


def _callback(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_absolute = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError as exc:
        raise UnfitOrder("bad_callback") from exc
    if not is_absolute or not _CALLBACK.fullmatch(url):
        raise UnfitOrder("bad_callback")
    return quote(url, safe="")


def _headers(order: SubmitOrder) -> dict[str, str]:
    headers = {}
    if order.start_timeout_s is not None:
        headers["X-Fal-Request-Start-Timeout"] = _start_timeout(order.start_timeout_s)
    if order.tags:
        headers["X-Fal-Tags"] = _tags(order.tags)
    return headers | dict(_option_headers(order.options))


def _option_headers(options: SubmitOptions) -> Iterator[tuple[str, str]]:
    """Yield the headers of what was asked for. Source: fal docs, "Platform headers", 2026-10-07."""
    if options.priority is not None:
        yield "X-Fal-Queue-Priority", options.priority
    if options.runner_hint is not None:
        yield "X-Fal-Runner-Hint", options.runner_hint
    if options.no_retry:
        yield "X-Fal-No-Retry", "1"
    if options.retry_config is not None:
        retries = {cause: {"retries": count} for cause, count in options.retry_config.items()}
        yield "X-Fal-Retry-Config", dump_json(retries).decode("ascii")
    if options.store_io is not None:
        yield "X-Fal-Store-IO", "1" if options.store_io else "0"
    if options.object_lifecycle is not None:
        lifecycle = options.object_lifecycle.model_dump(exclude_unset=True)
        yield "X-Fal-Object-Lifecycle-Preference", dump_json(lifecycle).decode("ascii")
    if options.disable_fallback:
        yield "x-app-fal-disable-fallback", "true"


def _start_timeout(seconds: float) -> str:
    text = f"{seconds:.3f}" if math.isfinite(seconds) else "0"
    if float(text) <= _MIN_START_TIMEOUT_S:
        raise UnfitOrder("bad_start_timeout")
    return text.rstrip("0").rstrip(".")


def _tags(tags: Mapping[str, str]) -> str:
    is_fit = len(tags) <= _MAX_TAGS and all(
        _TAG_KEY.fullmatch(key)
        and not key.startswith(_RESERVED_TAG)
        and _TAG_VALUE.fullmatch(value)
        for key, value in tags.items()
    )
    text = ",".join(f"{key}={value}" for key, value in tags.items())
    # Lone surrogates have no bytes; counted as what would replace them, they are refused too.
    is_text = text == text.encode("utf-8", "replace").decode("utf-8")
    if not is_fit or not is_text or len(text.encode("utf-8", "replace")) > _MAX_TAG_BYTES:
        raise UnfitOrder("bad_tags")
    return text
