"""Runs one server and ends it when the parent process is gone, also after `kill -9` of the parent.

The parent holds the write end of this process's standard input, and the kernel closes it when the parent ends. The server then gets its
stop signal, and SIGKILL after `--limit-s` seconds. Works on Linux and macOS. Run as a script with `-I -S`: it imports nothing of
ordersaga and starts in some 30 ms.

Promise: the server never outlives the parent while this process lives or ends in order. If this process is killed, the server dies on
Linux (PR_SET_PDEATHSIG) and stays as an orphan on macOS.
"""

import argparse
import contextlib
import ctypes
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", required=True, help="stop signal of the server, such as SIGTERM")
    parser.add_argument("--limit-s", type=float, required=True, help="seconds from the stop signal to SIGKILL")
    parser.add_argument("--user", help="unprivileged user that the server runs as")
    parser.add_argument("--then-remove", type=Path, help="folder to remove after the server, if the parent ended first")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def start(command: list[str], user: str | None) -> subprocess.Popen[bytes]:
    """Start the server with its output in our standard error, which is its log file."""

    def before_it_begins() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the server dies with the leash
            # The servers share this machine and wake each other all the time. Under SCHED_BATCH a woken process does not preempt the
            # running one.
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    # preexec_fn runs after the change of user, which would clear the death signal.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        preexec_fn=before_it_begins,
    )


def parent_ends_first(server: subprocess.Popen[bytes]) -> bool:
    """Wait for the server or the parent to end; true if it is the parent."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    parent = os.getppid()
    while server.poll() is None:
        # A forked child of the parent may keep the pipe open; getppid shows within a second that the parent is gone.
        ready, _, _ = select.select([sys.stdin, woken], [], [], 1.0)
        if sys.stdin in ready or os.getppid() != parent:
            return True
        if woken in ready:
            os.read(woken, 64)
    return False


def end(server: subprocess.Popen[bytes], stop_signal: signal.Signals, limit_s: float) -> None:
    os.killpg(
        os.getpgrp(), signal.SIGCONT
    )  # a stopped process gets no other signal, and its children would stay stopped for ever
    server.send_signal(stop_signal)
    try:
        server.wait(limit_s)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def remove(folder: Path) -> None:
    """Remove the folder that the dead parent leaves behind, and the folder above it if that is empty then."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: the other server's leash still works there and removes it later
        folder.parent.rmdir()


def main() -> int:
    args = arguments()
    server = start(args.command, args.user)
    # A leash ends only with its parent or its server, never by a signal to the whole process group.
    for stray in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stray, signal.SIG_IGN)
    print(server.pid, flush=True)
    if parent_ends_first(server):
        end(server, signal.Signals[args.signal], args.limit_s)
        if args.then_remove:
            remove(args.then_remove)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main() and 1)
