"""
Become another program that the kernel kills when its parent ends, however it ends.

Run as a script: `python leash.py [--as=<user id>:<group id>] <process id of the parent>
<program> <argument>…`. The process id stays, so whoever started this has the program's own.
With `--as` root becomes that user first. On systems without `prctl` the program runs without
this leash.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # Source: Linux, prctl(2); it outlives execve
AS = "--as="


def main(*arguments: str) -> None:
    """Put the leash on and become the program; end where the parent is already gone."""
    if arguments[0].startswith(AS):
        _become(*map(int, arguments[0].removeprefix(AS).split(":")))
        arguments = arguments[1:]
    parent, program, *rest = arguments
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        # After the change of user, which would take it off again.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(program, [program, *rest])  # noqa: S606, it is what this is for


def _become(user: int, group: int) -> None:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


if __name__ == "__main__":
    main(*sys.argv[1:])
