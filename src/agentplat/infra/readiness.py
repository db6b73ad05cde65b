"""How a process tells whoever started it that it can be used now: one byte on a pipe, named in the environment."""

import os

READY_FD = "AGENTPLAT_READY_FD"


def announce_ready() -> None:
    """Harmless when nobody asked, and when called twice."""
    fd = os.environ.pop(READY_FD, None)
    if fd is None:
        return
    try:
        os.write(int(fd), b"1")
        os.close(int(fd))
    except OSError:
        # Who asked is gone; that is not a reason to stop working.
        return
