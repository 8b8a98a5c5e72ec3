"""`verify`: exit codes, and which check failed."""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consumer.cli import main
from consumer.core.completion import Completion, reconciled_event, webhook_event
from consumer.core.delivery import Delivery, read_headers
from consumer.core.event import Event, encode
from consumer.core.fact import FactName
from consumer.core.signature import verify
from consumer.testing.keys import Signer, key_document, key_set

REQUEST = "019f6af7-3088-7f03-b97d-84fec4a3ce12"
AT = datetime(2026, 7, 16, 12, 0, tzinfo=UTC)
BODY = b'{"request_id":"' + REQUEST.encode() + b'","status":"OK","payload":{}}'
SIGNER = Signer()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a genuine delivery and its key set."""
    (tmp_path / "body").write_bytes(BODY)
    headers = SIGNER.headers(REQUEST, BODY, at=AT)
    (tmp_path / "headers.json").write_text(json.dumps(headers))
    (tmp_path / "jwks.json").write_bytes(key_document(SIGNER))
    return tmp_path


def judge(runner: CliRunner, folder: Path, *, at: str = "1784203200", **other: Path) -> Result:
    paths = {
        "body": folder / "body",
        "headers": folder / "headers.json",
        "jwks": folder / "jwks.json",
    }
    options = [text for name, path in (paths | other).items() for text in (f"--{name}", str(path))]
    return runner.invoke(main, ["verify", *options, "--at", at, "--json"])


def failed_check(shown: Result) -> tuple[int, str]:
    return shown.exit_code, json.loads(shown.stdout)["failed"]


@pytest.mark.parametrize("at", ["1784203200", "2026-07-16T12:00:00Z", "2026-07-16T14:05:00+02:00"])
def test_a_genuine_delivery_exits_0(runner: CliRunner, files: Path, at: str):
    """A genuine delivery exits 0, judged at Unix seconds or at an RFC 3339 time."""
    shown = judge(runner, files, at=at)

    assert shown.exit_code == 0
    verdict = json.loads(shown.stdout)
    assert (True, REQUEST, "github|1", "test-key") == (
        verdict["genuine"],
        verdict["request_id"],
        verdict["account"],
        verdict["kid"],
    )


def test_a_changed_body_fails_at_the_signature(runner: CliRunner, files: Path):
    """One more byte in the body exits 1 and names the signature."""
    (files / "body").write_bytes(BODY + b" ")

    assert failed_check(judge(runner, files)) == (1, "signature")


def test_another_time_fails_at_the_timestamp(runner: CliRunner, files: Path):
    """A time more than 300 s away exits 1 and names the timestamp."""
    assert failed_check(judge(runner, files, at="1784203501")) == (1, "timestamp")


@pytest.mark.parametrize(
    "headers",
    [
        "{}",
        '[["X-Fal-Webhook-Request-Id", "a"], ["X-Fal-Webhook-Request-Id", "a"]]',
        '{"X-Fal-Webhook-Request-Id": "a", "X-Fal-Webhook-Request-Id": "a"}',
        '{"X-Fal-Webhook-Request-Id": "\\ud800"}',
    ],
)
def test_missing_doubled_or_odd_headers_fail_at_the_headers(
    runner: CliRunner, files: Path, headers: str
):
    """Headers that are not those of a delivery exit 1 and are named."""
    (files / "headers.json").write_text(headers)

    assert failed_check(judge(runner, files)) == (1, "headers")


def test_people_read_which_check_failed(runner: CliRunner, files: Path):
    """Without --json the verdict is one sentence on standard output."""
    arguments = ["--body", f"{files}/body", "--headers", f"{files}/headers.json"]
    arguments += ["--jwks", f"{files}/jwks.json", "--at", "1784207200"]

    shown = runner.invoke(main, ["verify", *arguments])

    assert shown.exit_code == 1
    assert shown.stdout == (
        "not genuine: timestamp: signed 4000 s before 2026-07-16T13:06:40.000000Z; "
        "300 s are allowed\n"
    )


@pytest.mark.parametrize(
    "name, content",
    [
        ("jwks.json", b"[]"),
        ("jwks.json", b'{"keys": []}'),
        ("headers.json", b"not JSON"),
        ("headers.json", b"[1, 2]"),
        ("headers.json", b'"text"'),
        ("headers.json", b'{"a": 1}'),
    ],
)
def test_unusable_input_exits_2(runner: CliRunner, files: Path, name: str, content: bytes):
    """A file that is not what it should be exits 2, and standard output stays empty."""
    (files / name).write_bytes(content)

    shown = judge(runner, files)

    assert (shown.exit_code, shown.stdout) == (2, "")


@pytest.mark.parametrize("at", ["yesterday", "2026-07-16T12:00:00", "999999999999", "-1"])
def test_an_unusable_time_exits_2(runner: CliRunner, files: Path, at: str):
    """A time without an offset, or none at all, exits 2."""
    assert judge(runner, files, at=at).exit_code == 2


def test_too_few_files_exit_2(runner: CliRunner, files: Path):
    """Without all four parts, and without a record, it says what to give."""
    shown = runner.invoke(main, ["verify", "--body", str(files / "body")])

    assert shown.exit_code == 2
    assert "--headers" in shown.stderr


def test_the_recorded_deliveries_are_genuine(runner: CliRunner, samples: Path, tmp_path: Path):
    """Every recorded real delivery exits 0 at the time of its recording."""
    for attempt in json.loads((samples / "deliveries.json").read_text()):
        headers = tmp_path / "headers.json"
        headers.write_text(json.dumps(attempt["headers"]))

        shown = judge(
            runner,
            tmp_path,
            at=attempt["headers"]["X-Fal-Webhook-Timestamp"],
            body=samples / attempt["body"],
            jwks=samples / "jwks-2026-07-16.json",
        )

        assert shown.exit_code == 0, shown.output


# ---------------------------------------------------------------- evidence from the log


def evidence(body: bytes = BODY) -> Event:
    """Return the event of a delivery, as the receiver publishes it."""
    pairs = SIGNER.headers(REQUEST, BODY, at=AT).items()
    headers = read_headers((name.encode(), value.encode()) for name, value in pairs)
    received = Delivery(headers, BODY, AT + timedelta(seconds=1))
    verified = verify(received, key_set(SIGNER).keys, now=received.received_at)
    event = webhook_event(verified, source="https://x", token=None, raw_token="", ours=True)
    return Event(
        event.type, event.id, event.source, event.subject, event.time, body, event.extensions
    )


def line_of(event: Event, **changed: str) -> str:
    record = encode(event)
    headers: Mapping[str, str] = {name: value.decode() for name, value in record.headers}
    value = b64encode(record.value).decode()
    return json.dumps({"headers": {**headers, **changed}, "value_base64": value}) + "\n"


def judge_lines(runner: CliRunner, lines: str, *more: str) -> Result:
    return runner.invoke(main, ["verify", "--record", "-", "--json", *more], input=lines)


def test_a_record_alone_is_evidence(runner: CliRunner):
    """A record of the log verifies at its own time with the key that it names."""
    shown = judge_lines(runner, line_of(evidence()))

    assert shown.exit_code == 0
    assert "give --jwks" in shown.stderr


def test_a_record_is_held_to_the_given_key_set(runner: CliRunner, tmp_path: Path):
    """With --jwks a record signed by a key of somebody else exits 1."""
    (tmp_path / "jwks.json").write_bytes(key_document(Signer()))

    shown = judge_lines(runner, line_of(evidence()), "--jwks", str(tmp_path / "jwks.json"))

    assert failed_check(shown) == (1, "signature")


def test_a_changed_record_is_not_genuine(runner: CliRunner):
    """A record whose value was changed fails; one without its attributes names the headers."""
    assert failed_check(judge_lines(runner, line_of(evidence(b"{}")))) == (1, "signature")
    spoilt = line_of(evidence(), ce_faltimestamp="soon")
    assert failed_check(judge_lines(runner, spoilt)) == (1, "headers")
    assert failed_check(judge_lines(runner, line_of(evidence(), ce_falkey="AA"))) == (1, "headers")


def test_many_records_are_judged_and_unsigned_ones_left_out(runner: CliRunner):
    """Each signed line gets a verdict; one bad line makes the exit code 1."""
    unsigned = reconciled_event(Completion(REQUEST, FactName.SUCCEEDED), source="https://x", at=AT)
    lines = line_of(evidence()) + line_of(unsigned) + line_of(evidence(b"{}"))

    shown = judge_lines(runner, lines)

    assert shown.exit_code == 1
    assert [True, False] == [json.loads(line)["genuine"] for line in shown.stdout.splitlines()]
    assert "1 records carry no signature" in shown.stderr


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"headers": {}, "value_base64": "?"}', "no"])
def test_a_line_that_is_no_record_exits_2(runner: CliRunner, line: str):
    """What is no line of `events --json` exits 2."""
    assert judge_lines(runner, line).exit_code == 2
