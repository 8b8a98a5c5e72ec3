"""
Putting records back on a log: a span of a topic, or dead letters. Knows ports only.

What marks a copy, and what a dead letter says of itself, is in `core.replay`.
"""

from consumer.replaying.drifts import FoundDrift, find_drifts
from consumer.replaying.letters import (
    FoundLetter,
    Wanted,
    find_letters,
    letter_at,
    replay_letters,
)
from consumer.replaying.replayer import Pace, Replayer, Shown
from consumer.replaying.spans import Span, Tally, chosen

__all__ = [
    "FoundDrift",
    "FoundLetter",
    "Pace",
    "Replayer",
    "Shown",
    "Span",
    "Tally",
    "Wanted",
    "chosen",
    "find_drifts",
    "find_letters",
    "letter_at",
    "replay_letters",
]
