"""
fal's key set over HTTP: fetched, judged, kept on disk, held, and kept fresh.

`keys` is what others use; `fetch` is one bounded call, `store` the last good set on disk,
`clock` what the server's time says about ours.
"""

from consumer.jwks.keys import JwksKeys, KeyParts, KeySource, KeyTimes

__all__ = ["JwksKeys", "KeyParts", "KeySource", "KeyTimes"]
