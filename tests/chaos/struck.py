"""What the blows of a chaos run share: their result, limits, process ids and signals."""

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, NamedTuple

import psutil
from msgspec import Struct

from ordersaga.devstack.server import Server
from ordersaga.devstack.system import System

AGAIN_LIMIT_S: Final = 5.0
TAKEN_OVER_LIMIT_S: Final = 15.0
BROKER_LIMIT_S: Final = 10.0
FROZEN_S: Final = (2.0, 12.0)


class Struck(Struct):
    """What a blow did, the `time.time` from which its recovery counts, and the promised limit (None: none).

    `cut_s`: since when nothing could work, where the recovery counts from the moment that it could again.
    """

    what: str
    since_s: float
    limit_s: float | None = None
    cut_s: float | None = None


class Blow(NamedTuple):
    """A kind of blow and its target. Two blows at once have different targets; None: the blow comes alone."""

    target: str | None
    strike: Callable[[System, random.Random], AbstractAsyncContextManager[Struck]]


def pid_of(server: Server) -> int:
    """The process id of a server that must be running."""
    pid = server.pid
    assert pid is not None, f"{server.name} has ended by itself; {server.log_tail()}"
    return pid


def send_signals(victims: Iterable[psutil.Process], name: Literal["SIGSTOP", "SIGCONT", "SIGKILL"]) -> None:
    """Send a signal to processes; some of them may have ended."""
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.Signals[name])
