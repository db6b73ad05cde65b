"""A process ends when its parent does, even if the parent was killed with -9 and could not say so."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1


def die_with(parent: int, number: signal.Signals) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    else:
        threading.Thread(target=_watch, args=(parent, number), name="lifeline", daemon=True).start()
    # It may have died before the kernel was asked.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _watch(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), number)
