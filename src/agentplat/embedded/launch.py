"""Becomes a server: drops root, ties its life to the supervisor's, and replaces itself with the server's program.

Run as a script by path, without site-packages, so that it costs a few milliseconds. It does between fork and exec what
`preexec_fn` would do, which is not safe in a process with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, uid, gid, *command = arguments
    if int(uid) != os.geteuid():
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        # After the change of account, which clears it. Elsewhere an orphan is found and stopped by the next start.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            sys.exit("The supervisor is gone already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
