"""The nginx example of deploy/, run in front of a receiver."""

import asyncio
import os
import pwd
import shutil
import signal
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumer.core.event import Topic, decode
from consumer.core.token import Token, sign_token
from consumer.devservers.certificates import make_certificates
from consumer.receiver import ReceiverRules
from consumer.testing.deliveries import REQUEST_ID, webhook_body
from consumer.testing.receiving import ACCOUNT, Setting, as_request, running_receiver, status_of

EXAMPLE = (Path(__file__).resolve().parent.parent / "deploy" / "nginx.conf").read_text()
SECRET = b"a secret of at least 32 random bytes!"
RULES = ReceiverRules(frozenset({ACCOUNT}), "https://keys.example", (SECRET,))
TOKEN = sign_token(Token("fal-ai/flux", "sub_0123456789"), [SECRET])
MIB = 1024 * 1024
_WITHIN_S = 30

MAIN = """\
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 128; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log {folder}/other.log combined;
    include {folder}/example.conf;
}}
"""


class Proxy:
    """A running nginx, spoken to over TLS with whatever bytes a test likes."""

    def __init__(self, folder: Path, trusts: ssl.SSLContext):
        self.folder = folder
        self._trusts = trusts

    async def exchange(self, raw: bytes) -> bytes:
        """Return all that comes back until nginx closes."""
        async with asyncio.timeout(_WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(
                str(self.folder / "s"), ssl=self._trusts, server_hostname="localhost"
            )
            try:
                writer.write(raw)
                return await reader.read()
            finally:
                writer.close()

    async def post(self, body: bytes, headers: dict[str, str], path: str) -> int:
        """Return the status that a POST is answered with."""
        return status_of(await self.exchange(as_request(body, headers, path=path)))


@pytest.fixture
def open_proxy(tmp_path_factory, require):
    """Open nginx with the example, whose addresses and files are this test's own."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        require("nginx", "no nginx: install the package nginx-light")

    @asynccontextmanager
    async def opened(port: int):
        folder = tmp_path_factory.mktemp("n")
        server = make_certificates(folder / "tls").server
        own = {
            "listen 443 ssl;": f"listen unix:{folder}/s ssl;",
            "server 127.0.0.1:8080;": f"server 127.0.0.1:{port};",
            "/etc/letsencrypt/live/hooks.example.com/fullchain.pem": str(server.certificate),
            "/etc/letsencrypt/live/hooks.example.com/privkey.pem": str(server.key),
            "/var/log/nginx/": f"{folder}/",
        }
        text = EXAMPLE
        for theirs, ours in own.items():
            assert 1 == text.count(theirs), theirs
            text = text.replace(theirs, ours)
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        (folder / "example.conf").write_text(text)
        (folder / "main.conf").write_text(MAIN.format(folder=folder, user=user))
        trusts = ssl.create_default_context(cafile=folder / "tls" / "authority.pem")
        process = await asyncio.create_subprocess_exec(
            nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "main.conf"
        )
        try:
            async with asyncio.timeout(_WITHIN_S):
                while not (folder / "pid").exists() and process.returncode is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # nginx tells nobody when it is there
            assert process.returncode is None, (folder / "error.log").read_text()
            yield Proxy(folder, trusts)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGQUIT)  # finishes what it has, its lines included
            async with asyncio.timeout(_WITHIN_S):
                await process.wait()

    return opened


@asynccontextmanager
async def recording_upstream():
    """Serve an upstream that answers 200 and keeps the bytes of each request."""
    heard = []

    async def hear(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        heard.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, limit=MIB)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def test_deliveries_pass_to_the_receiver_as_they_came(open_proxy):
    """Deliveries are taken through the proxy: bare, with a token, with a slash at the end."""
    setting = Setting()
    paths = ["/webhooks/fal", "/webhooks/fal/", f"/webhooks/fal/{TOKEN}", f"/webhooks/fal/{TOKEN}/"]
    statuses = []

    async with (
        running_receiver(setting, RULES) as (_, listener),
        open_proxy(listener.port) as proxy,
    ):
        for number, path in enumerate(paths):
            body = webhook_body(f"{REQUEST_ID[:-1]}{number}")
            headers = setting.headers(f"{REQUEST_ID[:-1]}{number}", body)
            statuses.append(await proxy.post(body, headers, path))

    events = [decode(one.headers, one.value) for one in setting.log.records(Topic.COMPLETIONS)]
    assert [200, 200, 200, 200] == statuses
    assert [False, False, True, True] == ["falendpoint" in one.extensions for one in events]


async def test_a_body_of_the_limit_passes_and_a_larger_one_is_refused_by_the_receiver(open_proxy):
    """10 MiB pass through the proxy unchanged; what is over the receiver's limit is its 413."""
    setting = Setting()
    limit = RULES.limits.max_body_bytes
    body = webhook_body(payload={"text": "x" * (limit - len(webhook_body(payload={"text": ""})))})
    over = body + b" " * 1024

    async with (
        running_receiver(setting, RULES) as (_, listener),
        open_proxy(listener.port) as proxy,
    ):
        taken = await proxy.post(body, setting.headers(REQUEST_ID, body), "/webhooks/fal")
        refused = await proxy.post(over, setting.headers(REQUEST_ID, over), "/webhooks/fal")

    assert limit == len(body)
    assert [200, 413] == [taken, refused]
    assert 1 == len(setting.log.records(Topic.COMPLETIONS))
    assert ["delivery.rejected"] == [
        event for _, event, values in setting.lines.told if values.get("http_status") == 413
    ]


@pytest.mark.parametrize(
    "target",
    [
        "/webhooks/fal",
        "/webhooks/fal/",
        "/webhooks/fal/a.b-c_d",
        "/webhooks/fal/a%2Fb%2e%2E",
        "/webhooks/fal//a//",
        "/webhooks/fal/./a",
        "/webhooks/fal/a?b=c&d=%20",
    ],
)
async def test_target_and_body_are_not_rewritten(open_proxy, target):
    """The upstream hears the request's target, signed headers and body byte for byte."""
    body = b'{"a": "\xc3\xa9\\u0000"}\r\n\x00\xff'
    headers = {"X-Fal-Webhook-User-Id": "github|1", "X-Fal-Webhook-Signature": "0a" * 64}

    async with recording_upstream() as (port, heard), open_proxy(port) as proxy:
        status = await proxy.post(body, headers, target)

    head, taken = heard[0]
    assert 200 == status
    assert f"POST {target} HTTP/1.1".encode() == head.split(b"\r\n")[0]
    assert body == taken
    for name, value in headers.items():
        assert f"{name}: {value}".encode() in head.split(b"\r\n")


@pytest.mark.parametrize("target", ["/", "/healthz", "/readyz", "/metrics", "/webhooks"])
async def test_nothing_else_is_reached(open_proxy, target):
    """Any other path is 404 from the proxy; health and readiness are not public."""
    async with recording_upstream() as (port, heard), open_proxy(port) as proxy:
        status = await proxy.post(b"{}", {}, target)

    assert (404, []) == (status, heard)


async def test_no_log_of_the_proxy_holds_the_token(open_proxy):
    """Taken, refused, cut and unanswered requests leave a line each, and none has the path."""
    setting = Setting()
    body = webhook_body()
    large = b" " * (2 * MIB)  # more than the buffer, so it goes through a file
    path = f"/webhooks/fal/{TOKEN}"
    whole = as_request(body, setting.headers(REQUEST_ID, body), path=path)
    of_100_mb = whole.replace(b"Content-Length: ", b"Content-Length: 99999")
    in_a_file = as_request(large, setting.headers(REQUEST_ID, large), path=path)

    async with (
        running_receiver(setting, RULES) as (_, listener),
        open_proxy(listener.port) as first,
    ):
        statuses = [status_of(await first.exchange(one)) for one in (whole, of_100_mb, in_a_file)]
    async with open_proxy(listener.port) as second:
        statuses.append(status_of(await second.exchange(whole)))

    lines = [
        line
        for proxy in (first, second)
        for line in (proxy.folder / "fal-consumer.log").read_text().splitlines()
    ]
    files = [path for proxy in (first, second) for path in proxy.folder.glob("*.log")]
    written = "\n".join(path.read_text() for path in files)
    assert [200, 413, 200, 502] == statuses
    assert statuses == [int(line.split()[3]) for line in lines]
    assert 6 == len(files)
    assert TOKEN not in written
    assert "/webhooks" not in written
