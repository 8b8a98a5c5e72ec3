"""
Which addresses are the open internet, and a resolver that gives no others.

The connection is made to the very address that was judged here, so a name that answers
differently a moment later changes nothing.
"""

import ipaddress
import socket
from collections.abc import Collection

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from consumer.media.places import MediaRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """
    Tell whether an address is one of the open internet, also where it carries an IPv4 one inside.

    Not private, loopback, link-local, shared, reserved or multicast (IANA's registries, as
    Python has them); IPv4 inside IPv6 by mapping, 6to4 or NAT64 (RFC 4291, 3056, 6052) is
    judged as IPv4, and other forms of it are refused.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.is_reserved:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class PublicResolver(AbstractResolver):
    """
    Resolves names to public addresses. Names in `loopback` may lead to this machine, and
    nowhere else.

    Raises MediaRefused `private_address` where any address of a name is not as it should be.
    """

    def __init__(
        self, loopback: Collection[str] = (), inner: AbstractResolver | None = None
    ) -> None:
        self._loopback = frozenset(loopback)
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host, each judged. Raises OSError where it has none."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            address = ipaddress.ip_address(one["host"])
            is_fit = address.is_loopback if host in self._loopback else is_public(address)
            if not is_fit:
                raise MediaRefused("private_address")
        return found

    async def close(self) -> None:
        """Close what is beneath."""
        await self._inner.close()


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
