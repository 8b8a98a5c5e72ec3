"""
What a job ends with: the ending (small, kept) and the output (made anew at each reading).

Pure functions of the request id, its scenario and its own seed, so that a result reads
the same every time and large outputs are never held.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any

from consumer.simulator.scenarios import Answer, Scenario

FAL_FILES = "https://v3b.fal.media"
# Where fal keeps files in 2026 (recorded outputs).
BIG_BODY_BYTES = 10 * 1024 * 1024 - 2048  # with the envelope still below 10 MiB
NESTING_DEPTH = 100_000  # far beyond the limits of usual JSON parsers
_FIRST_HUGE_SEED = 2**63
_ERRORS_PAGE = "https://docs.fal.ai/errors#"


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a job ended, as fal's status and result headers tell it.

    `error` and `error_type` are set for infrastructure failures and cancels only: a
    model's own refusal shows a bare COMPLETED.

    Source: fal docs, Queue status and request errors (read 2026-10-07).
    """

    end: str
    http_status: int
    billable_units: float
    error: str | None = None
    error_type: str | None = None
    is_user_timeout: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """The bytes the result replays, and their JSON text for a webhook (None: not JSON)."""

    content: bytes
    content_type: str
    payload: str | None


CANCELLED = Ending("cancelled", 499, 0.0, "Request was cancelled", "client_cancelled")
START_TIMEOUT = Ending("failed", 504, 0.0, "Request timed out", "request_timeout", True)
RUNNER_LOST = Ending("failed", 503, 0.0, "Runner disconnected", "runner_disconnected")

# Every failure of the infrastructure, by its type. Cancels and the user's own deadline, which
# have types of this list too, are above. Source: fal docs, Request errors (read 2026-10-07);
# but for the first two, the texts are ours.
INFRASTRUCTURE: Mapping[str, Ending] = MappingProxyType(
    {
        kind: Ending("failed", status, 0.0, text, kind)
        for kind, status, text in (
            ("runner_disconnected", 503, "Runner disconnected"),
            ("request_timeout", 504, "Request timed out"),
            ("startup_timeout", 504, "Runner did not start in time"),
            ("runner_scheduling_failure", 503, "No runner could be scheduled"),
            ("runner_connection_timeout", 503, "Connecting to the runner timed out"),
            ("runner_connection_refused", 503, "The runner refused the connection"),
            ("runner_connection_error", 503, "The connection to the runner broke"),
            ("runner_incomplete_response", 502, "The runner's answer is incomplete"),
            ("runner_server_error", 500, "The runner failed"),
            ("client_disconnected", 499, "The client disconnected"),
            ("bad_request", 400, "The request cannot be handled"),
            ("internal_error", 500, "Internal error"),
        )
    }
)


def ending_of(scenario: Scenario, seed: int, error_type: object = None) -> Ending:
    """
    Return how a job of this scenario ends when nobody interferes.

    `error_type` chooses among INFRASTRUCTURE where the scenario is such a failure.
    """
    match scenario.answer:
        case Answer.REFUSED:
            return Ending("failed", 422, 0.0)
        case Answer.NO_PATH:
            return Ending("failed", 404, 0.0)
        case Answer.RUNNER_LOST:
            known = isinstance(error_type, str) and error_type in INFRASTRUCTURE
            return INFRASTRUCTURE[str(error_type)] if known else RUNNER_LOST
        case _:
            return Ending("succeeded", 200, Random(seed).choice((0.5, 1.0, 1.25, 2.0, 4.0)))


def output_of(
    answer: Answer, ending: Ending, prompt: str, seed: int, files_url: str = FAL_FILES
) -> Output:
    """
    Return what the job's result GET replays; the same arguments give the same bytes.

    Its files are named below `files_url`.
    """
    if ending.error is not None:
        return _json({"detail": ending.error, "error_type": ending.error_type})
    match answer:
        case Answer.REFUSED:
            return _json({"detail": [_refusal(seed)]})
        case Answer.NO_PATH:
            content = _json({"detail": "Path /missing not found"})
            return Output(content.content, content.content_type, None)
        case Answer.BYTES:
            content_bytes = b"\x89PNG\r\n\x1a\n\xff\xfe" + Random(seed).randbytes(2048)
            return Output(content_bytes, "image/png", None)
        case Answer.DEEP:
            text = '{"nested": ' + "[" * NESTING_DEPTH + "]" * NESTING_DEPTH + "}"
            return Output(text.encode(), "application/json", text)
        case _:
            return _json(_image_output(answer, prompt, seed, files_url))


def delivery_body(
    ids: tuple[str, str], ending: Ending, output: Output, wording: str = "Unexpected"
) -> bytes:
    """
    Return the webhook body: sorted keys and separators as Python's own encoder writes them.

    `ids` are the request's and that of its latest attempt.
    The payload is spliced in as text, so that neither depth nor size matters. `error` is
    an explicit null on success; `payload_error` appears only with a null payload.

    Source: deliveries recorded 2025-07-09 and 2026-07-16; fal docs, Webhooks (read 2026-10-07).
    """
    request_id, gateway_request_id = ids
    succeeded = ending.http_status == 200
    error = None if succeeded else f"{wording} status code: {ending.http_status}"
    fields = {
        "error": json.dumps(error),
        "gateway_request_id": json.dumps(gateway_request_id),
        "payload": "null" if output.payload is None else output.payload,
        "request_id": json.dumps(request_id),
        "status": '"OK"' if succeeded else '"ERROR"',
    }
    if output.payload is None:
        fields["payload_error"] = json.dumps(
            "Response payload is not JSON serializable. Either return a JSON serializable object"
            " or use the queue endpoint to retrieve the response."
        )
    return ("{" + ", ".join(f'"{key}": {fields[key]}' for key in sorted(fields)) + "}").encode()


def _json(value: dict[str, Any]) -> Output:
    # Models answer compact JSON in their own key order; fal re-encodes it for the webhook.
    content = json.dumps(value, separators=(",", ":")).encode()
    return Output(content, "application/json", json.dumps(value, sort_keys=True))


def _image_output(answer: Answer, prompt: str, seed: int, files_url: str) -> dict[str, Any]:
    rng = Random(seed)
    name = f"{rng.getrandbits(64):016x}.png"
    url = f"{files_url}/files/b/{rng.getrandbits(32):08x}/{name}"
    image = {
        "url": url,
        "content_type": "image/png",
        "file_name": name,
        "file_size": None,
        "width": 1024,
        "height": 1024,
    }
    output: dict[str, Any] = {
        "images": [image],
        "timings": {"inference": rng.uniform(0.2, 8.0)},
        "seed": rng.getrandbits(32),
        "has_nsfw_concepts": [False],
        "prompt": prompt,
    }
    match answer:
        case Answer.HUGE_SEED:
            output["seed"] = _FIRST_HUGE_SEED + rng.getrandbits(62)
        case Answer.NUL_PROMPT:
            output["prompt"] = "before\x00after"
        case Answer.SURROGATE_PROMPT:
            output["prompt"] = "half a smile \ud83d"
        case Answer.BIG:
            spent = len(json.dumps(output | {"filler": ""}))
            output["filler"] = "x" * (BIG_BODY_BYTES - spent)
    return output


def _refusal(seed: int) -> dict[str, Any]:
    kind, message = Random(seed).choice(
        (
            ("file_download_error", "Failed to download the file."),
            ("content_policy_violation", "The content was refused by the checker."),
            ("image_too_large", "The image is too large."),
        )
    )
    return {
        "loc": ["body", "image_url"],
        "msg": message,
        "type": kind,
        "url": f"{_ERRORS_PAGE}{kind}",
        "input": "https://v3b.fal.media/files/b/0aa43692/input.png",
    }
