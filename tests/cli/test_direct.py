"""What goes wrong at fal is a sentence that says what to do, never a traceback or a log line."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import Request, urlopen

import pytest

from tests.cli.asking_fal import ENDPOINT, UNKNOWN_ID, ended

SUBMIT = ("submit", ENDPOINT, "--direct", "--input", "-")


@pytest.fixture
def plan(lone_fal) -> Iterator:
    """Return what lets the next calls of an operation fail; what is left over is forgotten."""
    url = f"{lone_fal.environ['FAL_CONSUMER_QUEUE_URL']}/_simulator/faults"

    def run(operation: str, fault: str) -> None:
        told = json.dumps({"operation": operation, "fault": fault, "count": 10}).encode()
        urlopen(Request(url, told, {"Content-Type": "application/json"})).close()

    yield run
    urlopen(Request(url, method="DELETE")).close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation, fault, arguments, said",
    [
        (
            "status",
            "html_403",
            ("status", ENDPOINT, UNKNOWN_ID),
            "a proxy before fal wants a human",
        ),
        (
            "status",
            "nginx_502",
            ("status", ENDPOINT, UNKNOWN_ID),
            "fal cannot answer now: http_502",
        ),
        ("result", "truncated", ("result", ENDPOINT, UNKNOWN_ID), "the connection was cut"),
        ("cancel", "cut", ("cancel", "--direct", ENDPOINT, UNKNOWN_ID), "the connection was cut"),
        ("submit", "locked", SUBMIT, "the account is locked (HTTP 403)\n  only a human"),
        ("submit", "lost", SUBMIT, "fal did not answer clearly (cut): the job may exist"),
    ],
)
def test_trouble_at_fal_is_a_sentence(lone_fal, plan, operation, fault, arguments, said):
    """Each trouble is told in words with what to do, exits 1, and leaves standard output empty."""
    plan(operation, fault)

    shown = lone_fal.run(*arguments, stdin="{}")

    assert (1, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr
    assert "event" not in shown.stderr  # no line of a log
    assert "Traceback" not in shown.stderr


@pytest.mark.slow
def test_an_empty_answer_is_a_sentence(lone_fal, plan):
    """A status without a byte is not taken for one; what came is described."""
    request_id = ended(lone_fal)
    plan("status", "empty")

    shown = lone_fal.run("status", ENDPOINT, request_id)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "fal's answer was empty (HTTP 200: " in shown.stderr


@pytest.fixture
def answering(folder) -> Iterator:
    """Return what makes a folder whose fal answers everything with one JSON document."""
    servers = []

    def run(document: object):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        url = f"http://127.0.0.1:{server.server_port}"
        given = {"FAL_KEY": "id:secret", "FAL_CONSUMER_QUEUE_URL": url, "FAL_CONSUMER_API_URL": url}
        return replace(folder, environ={**folder.environ, **given})

    yield run
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_is_not_understood_is_told_and_the_rest_is_shown(answering):
    """A field that changed its type is named with what was expected; the state is still there."""
    told = {"status": "IN_QUEUE", "request_id": UNKNOWN_ID, "queue_position": "three", "new": 1}

    shown = answering(told).run("status", ENDPOINT, UNKNOWN_ID, "--json")

    assert 0 == shown.returncode, shown.stderr
    assert ("IN_QUEUE", 1) == (json.loads(shown.stdout)["status"], json.loads(shown.stdout)["new"])
    assert "fal's answer differs from what this version knows: status: queue_position" in (
        shown.stderr
    )


def test_an_answer_that_nobody_understands_is_a_sentence(answering):
    """A state that this version does not know exits 1, and is named without the body."""
    shown = answering({"status": "PAUSED", "secret": "s3cret"}).run("status", ENDPOINT, UNKNOWN_ID)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "fal answered something that this version does not know: status: status" in shown.stderr
    assert "look for a newer version" in shown.stderr
    assert "s3cret" not in shown.stderr


def test_foreign_text_of_a_model_is_escaped(answering):
    """Names of models are shown without control characters and without markup."""
    entry = {
        "endpoint_id": "a/b",
        "metadata": {"display_name": "[red]x\x1b[2J", "category": "c", "status": "active"},
    }

    shown = answering({"models": [entry], "has_more": False}).run("models")

    assert 0 == shown.returncode, shown.stderr
    assert "[red]x\\x1b[2J" in shown.stdout
