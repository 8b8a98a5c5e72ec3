"""Answers that the tests of the client share, and the job that they are about."""

import json

from consumer.ports import SubmitOrder
from tests.fal.conftest import Canned

JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
ENDPOINT = "fal-ai/kling-video/v2/pro"
ORDER = SubmitOrder(ENDPOINT, {"prompt": "a"}, callback_url="http://a.example/h?x=1&y=2")
JSON = {"Content-Type": "application/json"}

TAKEN = Canned(200, json.dumps({"request_id": JOB, "status": "IN_QUEUE"}).encode(), JSON)
RUNNING = Canned(202, b'{"status":"IN_PROGRESS"}', JSON)
BAD_KEY = Canned(401, b'{"detail":"Authorization token=id-of-key is invalid."}', JSON)
LOCKED = Canned(403, b'{"detail":"User is locked. Reason: TOP_UP"}', JSON)
NGINX = Canned(502, b"<html>502 Bad Gateway</html>", {"Content-Type": "text/html"})
CUT = Canned(fault="cut")
HALF = Canned(200, b'{"status":', JSON, fault="truncate")
HANG = Canned(fault="hang")
UNUSED = "http://127.0.0.1:1"  # nothing listens on this port
