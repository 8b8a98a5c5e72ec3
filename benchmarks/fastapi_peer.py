"""
The receiver that most teams write: FastAPI, the verification of fal's documentation, aiokafka.

    KAFKA_SERVERS=… KAFKA_TOPIC=… JWKS_URL=… uvicorn --app-dir benchmarks fastapi_peer:app

Settings are those that the documentation of each part shows, but for acks="all"; uvicorn logs
as it does by default.
Source: fal docs, "Webhooks", "Verifying your webhook" (PyNaCl, a key made for each delivery,
the key set kept for a day).
"""

import base64
import hashlib
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, HTTPException, Request
from nacl.encoding import HexEncoder
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

_KEY_SET_MAX_AGE_S = 24 * 60 * 60
_TOLERANCE_S = 300


class KeyCache:
    """The entries of the key set, fetched when they are older than a day."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._entries: list[dict[str, Any]] = []
        self._fetched_at = 0.0

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries; the first call blocks."""
        if not self._entries or time.time() - self._fetched_at > _KEY_SET_MAX_AGE_S:
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                self._entries = json.load(answer)["keys"]
            self._fetched_at = time.time()
        return self._entries


keys = KeyCache(os.environ["JWKS_URL"])


def is_genuine(request_id: str, user_id: str, timestamp: str, signature: str, body: bytes) -> bool:
    """Tell whether one of fal's keys signed the delivery within the last five minutes."""
    try:
        if abs(int(time.time()) - int(timestamp)) > _TOLERANCE_S:
            return False
        signature_bytes = bytes.fromhex(signature)
    except ValueError:
        return False
    parts = [request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()]
    message = "\n".join(parts).encode("utf-8")
    for entry in keys.entries():
        key = base64.urlsafe_b64decode(entry["x"])
        try:
            VerifyKey(key.hex().encode(), encoder=HexEncoder).verify(message, signature_bytes)
        except BadSignatureError:
            continue
        return True
    return False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a producer while the app runs."""
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA_SERVERS"], acks="all")
    await producer.start()
    app.state.producer = producer
    yield
    await producer.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/fal")
@app.post("/webhooks/fal/{token}")
async def receive(request: Request) -> dict[str, str]:
    """Answer 200 once Kafka has the delivery."""
    body = await request.body()
    headers = request.headers
    request_id = headers.get("x-fal-webhook-request-id", "")
    if not is_genuine(
        request_id,
        headers.get("x-fal-webhook-user-id", ""),
        headers.get("x-fal-webhook-timestamp", ""),
        headers.get("x-fal-webhook-signature", ""),
        body,
    ):
        raise HTTPException(status_code=401, detail="invalid signature")
    payload = json.loads(body)
    await request.app.state.producer.send_and_wait(
        os.environ["KAFKA_TOPIC"], body, key=payload["request_id"].encode()
    )
    return {"status": "ok"}
