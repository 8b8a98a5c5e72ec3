"""
The conservation drill: on three brokers every fault in turn, and not one delivery lost.

Every 200 is a debt: afterwards it must stand in the topic byte for byte, the ledger must
say what was posted and what fal's stand-in did, and each submission was sent once.
"""

from drills.conservation.count import Report
from drills.conservation.faults import FAULTS, Spans
from drills.conservation.run import Size, run_conservation

__all__ = ["FAULTS", "Report", "Size", "Spans", "run_conservation"]
