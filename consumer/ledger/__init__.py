"""
The ledger: what is known of every request, and the rows that work is scheduled by.

`store` is what others use; `recording` is the only writer of the projection; `tables` and
`migrations` say the schema. No rule about states is here: those are joins in `core`.
"""

from consumer.ledger.store import Ledger

__all__ = ["Ledger"]
