"""Drives fal's own Python client through one story, and prints what it saw as JSON."""

import asyncio
import dataclasses
import json
import sys

import fal_client

ENDPOINT = "fal-ai/flux/dev"
UNKNOWN = "019f6af7-3088-7f03-b97d-84fec4a3ce12"


def seen(status):
    """Return a status as its class and fields."""
    return {"type": type(status).__name__} | dataclasses.asdict(status)


def failure(call):
    """Return what a call raises."""
    try:
        call()
    except fal_client.FalClientHTTPError as error:
        return {
            "status": error.status_code,
            "message": error.message,
            "error_type": error.error_type,
            "timeout_type": error.response_headers.get("x-fal-request-timeout-type"),
        }
    return None


def follow(webhook_url):
    """Submit with everything that the client can say, watch, and read the result."""
    handle = fal_client.submit(
        ENDPOINT,
        arguments={"prompt": "a red apple", "simulate": "plain"},
        hint="session-1",
        priority="low",
        webhook_url=webhook_url,
        start_timeout=60,
        headers={"X-Fal-Tags": "team=a"},
    )
    events = [seen(event) for event in handle.iter_events(with_logs=True, interval=0.02)]
    return {
        "request_id": handle.request_id,
        "events": events,
        "result": handle.get(),
        "status": seen(fal_client.status(ENDPOINT, handle.request_id, with_logs=False)),
        "again": fal_client.result(ENDPOINT, handle.request_id),
    }


async def subscribe():
    """Let the asynchronous client do it all."""
    queued, updates = [], []
    client = fal_client.AsyncClient()
    result = await client.subscribe(
        ENDPOINT,
        {"prompt": "a blue apple", "simulate": "plain"},
        with_logs=True,
        on_enqueue=queued.append,
        on_queue_update=lambda update: updates.append(type(update).__name__),
    )
    return {"request_id": queued[0], "updates": updates, "result": result}


def cancel():
    """Cancel what waits, and what has ended."""
    handle = fal_client.submit(ENDPOINT, {"simulate": "stuck"})
    handle.cancel()
    return {
        "request_id": handle.request_id,
        "status": seen(handle.status()),
        "again": failure(handle.cancel),
        "unknown": failure(lambda: fal_client.cancel(ENDPOINT, UNKNOWN)),
    }


def errors():
    """Read the results of requests that end badly."""

    def ended(scenario, **options):
        return failure(fal_client.submit(ENDPOINT, {"simulate": scenario}, **options).get)

    return {
        "model": ended("error_422"),
        "infrastructure": ended("error_infrastructure"),
        "path": ended("error_null_payload"),
        "deadline": ended("stuck", start_timeout=1.1),
        "unknown": failure(lambda: fal_client.status(ENDPOINT, UNKNOWN)),
        "key": failure(lambda: fal_client.SyncClient(key="id:wrong").status(ENDPOINT, UNKNOWN)),
    }


def submit():
    """Submit, and say how it went."""
    return failure(lambda: fal_client.submit(ENDPOINT, {"simulate": "stuck"}))


if __name__ == "__main__":
    story, *arguments = sys.argv[1:]
    told = globals()[story](*arguments)
    print(json.dumps(asyncio.run(told) if asyncio.iscoroutine(told) else told))  # noqa: T201
