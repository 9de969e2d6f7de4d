"""The file that `up` writes into its folder, so that other commands find the running system.

The file contains passwords and switches the check of callers off. So only its owner can read it, and it is used only while its `up` lives:
`up` holds a lock beside the file, and the kernel releases the lock however `up` ends. `serve` never reads the file.
"""

import contextlib
import fcntl
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from ordersaga.settings import PREFIX, SERVICES

FOLDER: Final = Path(".ordersaga")
SETTINGS_FILE: Final = FOLDER / "settings.env"
LOCK_FILE: Final = FOLDER / "up.lock"
ROLES: Final = "ORDERSAGA_UP_ROLES"
EMBEDDED: Final = "ORDERSAGA_UP_EMBEDDED"
PROCESS: Final = "ORDERSAGA_UP_PROCESS"
LOOKS: Final = 5
LOOK_S: Final = 0.1
ABOUT_UP: Final = frozenset({ROLES, EMBEDDED, PROCESS})


class AlreadyRunning(Exception):
    """Another `up` runs in this folder."""


class Unreadable(Exception):
    """The file of a live `up` cannot be read."""


class Running(Struct, frozen=True):
    """A live `up`: the variables of its services, which of the four run, and whether Kafka and PostgreSQL are its own."""

    variables: Mapping[str, str]
    roles: Sequence[str] = SERVICES
    embedded: Sequence[str] = ()

    @property
    def absent(self) -> list[str]:
        """The services that this `up` does not run."""
        return [name for name in SERVICES if name not in self.roles]


@contextlib.contextmanager
def owned() -> Iterator[None]:
    """Hold this folder's lock, and remove the settings file of a killed `up`. Raises `AlreadyRunning`."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    FOLDER.chmod(0o700)
    lock = os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(lock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        SETTINGS_FILE.unlink(missing_ok=True)
        try:
            yield
        finally:
            SETTINGS_FILE.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _acquire(lock: int) -> None:
    """Acquire the lock. Tries for a moment, since another command holds the lock while it checks whether an `up` lives."""
    for patience in range(LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if patience == LOOKS - 1:
                raise AlreadyRunning(os.pread(lock, 32, 0).decode().strip() or "?") from None
        time.sleep(LOOK_S)


def write(running: Running) -> None:
    """Write the file atomically, readable by its owner alone from the first byte."""
    about = {PROCESS: str(os.getpid()), ROLES: ",".join(running.roles), EMBEDDED: ",".join(running.embedded)}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in {**running.variables, **about}.items()]
    unfinished = SETTINGS_FILE.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(
            "# Written by `ordersaga up`, removed when it ends. For development alone: callers are not checked.\n"
        )
        file.writelines(lines)
    unfinished.replace(SETTINGS_FILE)


def read() -> Running | None:
    """The live `up` of this folder; None if there is none or it has not written its addresses yet. Raises `Unreadable`."""
    try:
        if not is_live():
            return None
        words = shlex.split(SETTINGS_FILE.read_text(), comments=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{SETTINGS_FILE} cannot be read: {error}") from error
    pairs = dict(word.partition("=")[::2] for word in words)
    about = {name: [each for each in pairs.pop(name, "").split(",") if each] for name in ABOUT_UP}
    ours = {name: value for name, value in pairs.items() if name.startswith(PREFIX)}
    return Running(ours, about[ROLES], about[EMBEDDED])


def is_left_behind() -> bool:
    """Whether the settings file exists although its `up` has ended."""
    with contextlib.suppress(OSError):
        return SETTINGS_FILE.is_file() and not is_live()
    return False


def is_live() -> bool:
    """Whether an `up` of this folder lives. Raises OSError if the folder belongs to another user."""
    try:
        lock = os.open(LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
