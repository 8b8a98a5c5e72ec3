"""
Become another program that the kernel kills when its parent ends, however it ends.

Run as a script: `python leash.py <process id of the parent> <program> <argument>…`. The
process id stays, so whoever started this has the program's own. On systems without
`prctl` the program runs without this leash.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # Source: Linux, prctl(2); it outlives execve


def main(parent: str, program: str, *arguments: str) -> None:
    """Put the leash on and become the program; end where the parent is already gone."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606, it is what this is for


if __name__ == "__main__":
    main(*sys.argv[1:])
