"""What opening a process takes: its settings, its folder, its role, and the time."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from consumer.folder import DataFolder
from consumer.jwks import KeyTimes
from consumer.ports import Clock
from consumer.settings import Role, Settings


@dataclass(frozen=True, slots=True)
class Opening:
    """
    One process being opened; what it opens goes on the stack and is closed in reverse.

    The folder is held by the caller. `clock` and `key_times` are tests' to choose.
    """

    settings: Settings
    folder: DataFolder
    role: Role
    clock: Clock
    key_times: KeyTimes | None
    stack: AsyncExitStack
