import ssl
import sys

import aiohttp
import pytest

from consumer.simulator import SimulatorConfigError


async def test_everything_is_served_over_tls_too(start, inbox):
    """A submit over TLS answers with URLs of the same origin, which whoever trusts can follow."""
    fal = await start(tls_port=0)
    context = ssl.create_default_context(cadata=fal.simulator.authority_pem.decode())
    url = f"{fal.simulator.tls_url}/a/b"

    async with fal.http.post(
        url, json={"simulate": "plain"}, params={"fal_webhook": inbox.url}, ssl=context
    ) as answer:
        submitted = await answer.json()
    assert submitted["status_url"].startswith(fal.simulator.tls_url)
    async with fal.http.get(submitted["status_url"], ssl=context) as answer:
        assert answer.status in {200, 202}
    await inbox.wait_for(1)


async def test_only_those_who_trust_its_authority_get_in(start):
    """The authority is a new one at every start, and no other one vouches for the simulator."""
    first, second = await start(tls_port=0), await start(tls_port=0)
    context = ssl.create_default_context(cadata=first.simulator.authority_pem.decode())

    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await second.http.get(f"{second.simulator.tls_url}/openapi.json", ssl=context)


async def test_without_tls_there_is_no_address_for_it(fal):
    """Asking for the TLS address of a simulator without one is a mistake, and is told as one."""
    for name in ("tls_url", "authority_pem"):
        with pytest.raises(RuntimeError, match="tls_port"):
            getattr(fal.simulator, name)


async def test_a_missing_package_is_told_with_its_extra(start, monkeypatch):
    """Without trustme the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(SimulatorConfigError, match=r"fal-consumer\[simulator\]"):
        await start(tls_port=0)
