"""An order becomes a call, or is refused before any URL is built."""

import json
from dataclasses import replace

import pytest

from consumer.core.submit_options import ObjectLifecycle, SubmitOptions
from consumer.fal.order import UnfitOrder, submit_call
from consumer.ports import SubmitOrder

ORDER = SubmitOrder("fal-ai/flux/dev", {"prompt": "a"})


def call(order):
    """The call of an order, within 1 KiB."""
    return submit_call(order, 1024)


def test_plain_order_is_a_post_of_its_input():
    """Endpoint and input alone make a POST of JSON, without query."""
    made = call(ORDER)

    assert (made.method, made.path, made.query) == ("POST", "/fal-ai/flux/dev", "")
    assert made.headers == {"Content-Type": "application/json"}
    assert ORDER.input == json.loads(made.body)
    assert made.is_unrepeatable


def test_callback_is_percent_encoded_whole():
    """The callback URL is one query parameter, and nothing in it ends that parameter."""
    made = call(replace(ORDER, callback_url="https://a.example:8443/hook/t.o-k_en?x=1&y=%20#z"))

    expected = (
        "fal_webhook=https%3A%2F%2Fa.example%3A8443%2Fhook%2Ft.o-k_en%3Fx%3D1%26y%3D%2520%23z"
    )
    assert expected == made.query


@pytest.mark.parametrize(
    "url",
    [
        "/hook",
        "ftp://a/b",
        "https://",
        "https://a/\r\nX: y",
        "https://a/ b",
        "https://[a",
        "https://ä/",
    ],
)
def test_odd_callback_is_refused(url):
    """A callback that is no absolute web address of visible ASCII makes no call."""
    with pytest.raises(UnfitOrder, match="bad_callback"):
        call(replace(ORDER, callback_url=url))


@pytest.mark.parametrize(
    "seconds, text",
    [(30, "30"), (0.5, "0.5"), (0.101, "0.101"), (1e6, "1000000"), (100, "100")],
)
def test_start_timeout_is_decimal_text(seconds, text):
    """The start deadline is sent in seconds, without an exponent."""
    made = call(replace(ORDER, start_timeout_s=seconds))

    assert text == made.headers["X-Fal-Request-Start-Timeout"]


@pytest.mark.parametrize("seconds", [0.1, 0, -1, float("nan"), float("inf"), 0.1001])
def test_start_timeout_that_fal_refuses_is_refused_here(seconds):
    """Fal wants more than 0.1 s."""
    with pytest.raises(UnfitOrder, match="bad_start_timeout"):
        call(replace(ORDER, start_timeout_s=seconds))


def test_tags_are_one_header():
    """Tags are pairs in the order given; an equals sign in a value is a value's own."""
    made = call(replace(ORDER, tags={"team": "blue", "job": "a=b ü"}))

    assert made.headers["X-Fal-Tags"] == "team=blue,job=a=b ü"


@pytest.mark.parametrize(
    "tags",
    [
        {"Team": "x"},
        {"": "x"},
        {"a" * 65: "x"},
        {"fal.x": "x"},
        {"a": ""},
        {"a": "x,b=y"},
        {"a": "x\r\nEvil: y"},
        {"a": "\ud800"},
        {"a": "x" * 257},
        {str(number): "x" for number in range(11)},
        {str(number): "x" * 256 for number in range(4)},
    ],
)
def test_tags_outside_the_grammar_are_refused(tags):
    """Tags that fal would drop or refuse are refused before the call."""
    with pytest.raises(UnfitOrder, match="bad_tags"):
        call(replace(ORDER, tags=tags))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_input_that_is_no_json_is_refused(value):
    """NaN and foreign objects are no JSON."""
    with pytest.raises(UnfitOrder, match="bad_input"):
        call(replace(ORDER, input={"x": value}))


@pytest.mark.parametrize("endpoint", ["", "fal-ai", "a/../b", "a/b?x=1", "a b/c"])
def test_endpoint_outside_the_grammar_is_refused(endpoint):
    """An endpoint that could change the URL never becomes part of one."""
    with pytest.raises(UnfitOrder, match="bad_endpoint"):
        call(replace(ORDER, endpoint=endpoint))


def test_legacy_endpoint_is_split():
    """`123-name` is posted to `/123/name`."""
    assert call(replace(ORDER, endpoint="123-name")).path == "/123/name"


def test_every_option_becomes_its_header_or_parameter():
    """Each option is one header, the queue bound a parameter; nothing else is sent."""
    options = SubmitOptions(
        priority="low",
        runner_hint="set 7",
        no_retry=True,
        retry_config={"server_error": 2, "timeout": 0},
        store_io=False,
        object_lifecycle=ObjectLifecycle(
            expiration_duration_seconds=None, initial_acl={"default": "forbid", "rules": []}
        ),
        disable_fallback=True,
        max_queue_length=0,
    )

    made = call(replace(ORDER, options=options, callback_url="https://a.example/h"))

    assert made.query == "fal_webhook=https%3A%2F%2Fa.example%2Fh&fal_max_queue_length=0"
    assert dict(made.headers) == {
        "Content-Type": "application/json",
        "X-Fal-Queue-Priority": "low",
        "X-Fal-Runner-Hint": "set 7",
        "X-Fal-No-Retry": "1",
        "X-Fal-Retry-Config": '{"server_error":{"retries":2},"timeout":{"retries":0}}',
        "X-Fal-Store-IO": "0",
        "X-Fal-Object-Lifecycle-Preference": (
            '{"expiration_duration_seconds":null,"initial_acl":{"default":"forbid","rules":[]}}'
        ),
        "x-app-fal-disable-fallback": "true",
    }
