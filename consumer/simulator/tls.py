"""
TLS for clients that insist on https: a throw-away authority and a certificate for this machine.

Made anew at every start; it protects nothing, and nobody should trust it for longer than a test.
"""

import ssl
from dataclasses import dataclass

from consumer.simulator.config import SimulatorConfigError


@dataclass(frozen=True, slots=True)
class ThrowAwayTls:
    """A server's context, and the PEM text of the authority that a client has to trust."""

    context: ssl.SSLContext
    authority_pem: bytes


def make_tls(host: str) -> ThrowAwayTls:
    """
    Return TLS for `localhost`, loopback addresses and `host`.

    Raises SimulatorConfigError where the package trustme is missing.
    """
    try:
        import trustme  # noqa: PLC0415 - an extra, and only for those who want TLS
    except ModuleNotFoundError as exc:
        raise SimulatorConfigError(
            "tls_port", "the package trustme: pip install 'fal-consumer[simulator]'"
        ) from exc
    authority = trustme.CA(organization_name="fal-consumer simulator")
    names = dict.fromkeys(["localhost", "127.0.0.1", "::1", host])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return ThrowAwayTls(context, authority.cert_pem.bytes())
