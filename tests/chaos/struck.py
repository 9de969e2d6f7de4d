"""What a blow of the chaos run says of itself, and what all blows need: limits, process ids, signals."""

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
    """What was done, the moment of `time.time` from which the recovery counts, and how long it may take (None: nothing is promised)."""

    what: str
    since_s: float
    limit_s: float | None = None


class Blow(NamedTuple):
    """Whom a kind of blow strikes (two at once never strike the same; None: it comes alone), and how."""

    target: str | None
    strike: Callable[[System, random.Random], AbstractAsyncContextManager[Struck]]


def pid_of(server: Server) -> int:
    """The process id of a server that must be running."""
    pid = server.pid
    assert pid is not None, f"{server.name} has ended by itself; {server.log_tail()}"
    return pid


def send_signals(victims: Iterable[psutil.Process], name: Literal["SIGSTOP", "SIGCONT", "SIGKILL"]) -> None:
    """Send a signal to processes, of which some may have ended."""
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.Signals[name])
