"""
Free loopback ports that stay free until a server takes them, and again after its restart.
"""

import random
import socket

# Below the range from which systems take the near end of outgoing connections (32768 and up
# on Linux, 49152 and up elsewhere): a port that is free now is not taken by chance later.
RANGE = range(15_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return that many different ports of 127.0.0.1 that nobody listens on."""
    found: list[int] = []
    candidates = random.Random()  # noqa: S311, a choice that protects nothing; never the tests' seed
    while len(found) < count:
        port = candidates.choice(RANGE)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
