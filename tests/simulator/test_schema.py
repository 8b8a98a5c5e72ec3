"""The published schema, held against what the simulator answers."""

import asyncio
import threading
from collections import Counter
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from consumer.simulator import SCENARIOS, RateLimit, Simulator, SimulatorConfig
from consumer.simulator.calls import PLATFORM_CALLS, QUEUE_CALLS
from consumer.simulator.catalog import OFFERS
from consumer.simulator.openapi import openapi_document, operation_id
from consumer.simulator.outcomes import INFRASTRUCTURE
from consumer.simulator.scenarios import Answer, Course, Submit

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
API, ADMIN = "Key id:api", "Key id:admin"
CALLS = {operation_id(call): call for call in (*QUEUE_CALLS, *PLATFORM_CALLS)}
# The others leave the caller without an answer or without a job, or are beyond JSON readers.
ANSWERED = [
    name
    for name, row in SCENARIOS.items()
    if row.submit not in {Submit.CUT, Submit.FAILED} and row.answer is not Answer.DEEP
]


class Held:
    """One simulator in a thread of its own, and its schema as schemathesis reads it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.schema = schemathesis.openapi.from_url(f"{simulator.url}/openapi.json")
        found = (result.ok() for result in self.schema.get_all_operations())
        self.operations = {each.definition.raw["operationId"]: each for each in found}

    def call(self, name, *, key=ADMIN, status=None, **parts):
        """Make one call, and hold its answer against the schema; 500 only where it is expected."""
        case = self.operations[name].Case(**parts)
        answer = case.call(headers={} if key is None else {"Authorization": key}, timeout=30)
        self.judge(case, answer, may_fail=status == 500)
        if status is not None:
            assert status == answer.status_code, answer.text
        return answer

    def judge(self, case, answer, *, may_fail=False) -> None:
        """Fail where the answer is not what the schema promises, or a mistake of ours."""
        assert may_fail or 500 != answer.status_code, answer.text
        case.validate_response(answer, checks=CHECKS)


@pytest.fixture(scope="module")
def held():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(call):
        return asyncio.run_coroutine_threadsafe(call, loop).result(60)

    simulator = Simulator(
        SimulatorConfig(
            seed=7, time_scale=0.001, api_key="id:api", admin_key="id:admin", billing_lag_s=0.0
        )
    )
    run(simulator.__aenter__())
    yield Held(simulator)
    run(simulator.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_an_answer_that_the_schema_does_not_allow_is_found(held):
    """What is held against the schema fails for a field too much, one too few, and a new code."""
    case = held.operations["meta"].Case()
    answer = case.call(timeout=30)
    for content, status in (
        (b'{"webhook_ip_ranges": [], "new": 1}', 200),
        (b"{}", 200),
        (b"", 418),
    ):
        answer.content, answer.status_code = content, status
        with pytest.raises(FailureGroup):
            held.judge(case, answer)


def test_the_schema_names_every_call_and_nothing_twice():
    """Each row of the table is one operation with a name of its own, and each one is named."""
    document = openapi_document()
    named = [
        (path, method, operation["operationId"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]

    expected = [(call.path, call.method.lower(), name) for name, call in CALLS.items()]
    assert sorted(expected) == sorted(named)
    assert len(CALLS) == len(QUEUE_CALLS) + len(PLATFORM_CALLS)


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"stream"}))
def test_calls_made_from_the_schema_are_answered_by_it(held, name):
    """Whatever the schema allows to ask gets an answer that the schema allows."""
    seen = Counter()
    some = st.lists(st.sampled_from(list(OFFERS)), min_size=1, max_size=3, unique=True)

    @given(case=held.operations[name].as_strategy(), known=some, is_known=st.booleans())
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case, known, is_known):
        if is_known and "endpoint_id" in (case.query or {}):
            case.query["endpoint_id"] = known
        if is_known and name == "estimate":
            quantities = list(case.body["endpoints"].values())
            case.body["endpoints"] = dict(zip(known, quantities, strict=False))
        answer = case.call(headers={"Authorization": ADMIN}, timeout=30)
        seen[answer.status_code] += 1
        held.judge(case, answer)

    ask()
    takes_an_id = "{request_id}" in CALLS[name].path
    assert ({404} if takes_an_id else {200}) <= set(seen)


@pytest.mark.parametrize("scenario", ANSWERED)
def test_every_answer_about_a_request_is_in_the_schema(held, scenario):
    """From submit to result and cancel, in whatever way it goes, each answer is as published."""
    where = {"owner": "held", "app": scenario.replace("_", "-")}
    submit = held.call("submit", path_parameters=where, body={"simulate": scenario}, status=200)
    about = {"path_parameters": where | {"request_id": submit.json()["request_id"]}}
    held.call("status", query={"logs": "1"}, **about)
    if SCENARIOS[scenario].course is Course.STUCK:
        held.call("result", status=400, **about)
        held.call("cancel", status=200, **about)
    held.call("stream", query={"logs": "1"}, status=200, **about)
    held.call("status", query={"logs": "true"}, status=200, **about)
    held.call("result", **about)
    held.call("result_response", **about)
    held.call("cancel", status=400, **about)
    listed = {"endpoint_id": ["/".join(where.values())], "expand": ["payloads"]}
    held.call("listing", query=listed, status=200)


@pytest.mark.parametrize("error_type, ending", INFRASTRUCTURE.items())
def test_every_failure_of_the_infrastructure_is_in_the_schema(held, error_type, ending):
    """Status and result name the type, under the code that fal documents for it."""
    where = {"owner": "held", "app": "infrastructure"}
    body = {"simulate": "error_infrastructure", "simulate_error_type": error_type}
    submit = held.call("submit", path_parameters=where, body=body)
    about = {"path_parameters": where | {"request_id": submit.json()["request_id"]}}
    held.call("stream", **about)

    assert error_type == held.call("status", status=200, **about).json()["error_type"]
    result = held.call("result", status=ending.http_status, **about)
    assert {"detail": ending.error, "error_type": error_type} == result.json()


def test_a_running_request_is_cancelled_by_the_schema(held):
    """The cancel of a running request is a 202, and its result a 499."""
    where = {"owner": "held", "app": "running"}
    told = None
    while told != 202:  # a request that ended before the cancel came is another story
        submit = held.call("submit", path_parameters=where, body={"simulate": "slow_run"})
        about = {"path_parameters": where | {"request_id": submit.json()["request_id"]}}
        while held.call("status", **about).json()["status"] == "IN_QUEUE":
            pass
        told = held.call("cancel", **about).status_code
    held.call("stream", **about)

    held.call("result", status=499, **about)


def test_a_missed_deadline_is_in_the_schema(held):
    """A request that does not start in time is a 504."""
    where = {"owner": "held", "app": "deadline"}
    headers = {"X-Fal-Request-Start-Timeout": "0.11"}
    submit = held.call("submit", path_parameters=where, headers=headers, body={"simulate": "stuck"})
    about = {"path_parameters": where | {"request_id": submit.json()["request_id"]}}

    held.call("stream", **about)
    held.call("result", status=504, **about)


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("key", [None, "Key id:wrong", "Bearer id:api", API])
def test_refusals_are_in_the_schema(held, name, key):
    """Whoever may not call is told so in a published form: 401, or 403 for want of ADMIN."""
    call = CALLS[name]
    parts = {"path_parameters": {"owner": "held", "app": "keys", "path": "x"}}
    if "{request_id}" in call.path:
        parts["path_parameters"]["request_id"] = str(uuid4())
    if call.body is not None:
        parts["body"] = {"simulate": "stuck"}
    if name in ("pricing", "listing"):
        parts["query"] = {"endpoint_id": ["fal-ai/veo3"]}

    answer = held.call(name, key=key, **parts)
    is_told_to_anybody = call.is_open or (key is None and "{request_id}" in call.path)
    if key != API and not is_told_to_anybody:
        assert 401 == answer.status_code
    elif call.needs_admin:
        assert 403 == answer.status_code


def test_a_limit_and_a_lock_are_in_the_schema(held):
    """A 429 with its hint and the 403 of a locked account are as published."""
    where = {"owner": "held", "app": "limits"}
    held.simulator.limit_rate(RateLimit(1, 3600.0))
    held.call("meta")
    held.call("meta", status=429)
    held.simulator.limit_rate(None)
    held.simulator.lock()
    held.call("submit", path_parameters=where, body={}, status=403)
    held.simulator.unlock()
