"""
The long run: python -m drills.conservation [--deliveries N] [--rate N] [--seed N] [--ledger L].
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from consumer.telemetry import configure_logs
from drills.conservation import Size, run_conservation
from drills.conservation.count import told_briefly


def main() -> int:
    """Play a long run and print what it counted; 1 when anything does not add up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=Size.deliveries)
    parser.add_argument("--rate", type=float, default=Size.rate)
    parser.add_argument("--seed", type=int, default=Size.seed)
    parser.add_argument("--ledger", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--folder", type=Path, help="kept afterwards; without it a temporary one")
    chosen = parser.parse_args()
    if chosen.folder:
        chosen.folder.mkdir(parents=True)
    size = Size(
        deliveries=chosen.deliveries,
        rate=chosen.rate,
        seed=chosen.seed,
        on_postgres=chosen.ledger == "postgres",
    )
    configure_logs(level="error", format="json")
    with tempfile.TemporaryDirectory(prefix="fal-consumer-conservation-") as folder:
        report = asyncio.run(run_conservation(chosen.folder or Path(folder), size))
    print(report)
    for mistake in told_briefly(report.mistakes):
        print(f"does not add up: {mistake}")
    return 1 if report.mistakes or report.lost else 0


if __name__ == "__main__":
    sys.exit(main())
