"""One renewal of a refresh token over all web processes of a machine: a file for each token, which is locked while a process asks the provider.

A provider that takes each refresh token once may end the session of somebody whose token comes twice. Requests of one browser reach any worker,
so whoever comes later finds in the file what the provider has answered, sealed with the secret that the processes share. A process that
dies gives its lock back, and the next one asks.
"""

import asyncio
import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from ordersaga.web.provider import ProviderAway, SignedIn
from ordersaga.web.signing import Signer

log: Final = structlog.get_logger()

KEPT_S: Final = 60.0
"""A request may come so much later with the cookie of before."""
LOOK_EVERY_S: Final = 0.05
LOCKED_S: Final = 20.0
"""How long another process is waited for. It may be frozen."""
PURPOSE: Final = "shared renewal"


class SharedRenewals:
    """The renewals of this machine's processes that have this secret."""

    def __init__(self, signer: Signer) -> None:
        self._signer: Final = signer

    async def once(
        self, refresh_token: str, renew: Callable[[], Awaitable[SignedIn]], is_used_up: Callable[[SignedIn], bool]
    ) -> SignedIn:
        """What `renew` returns, here or in another process, unless that is used up. An error is raised where it happens, and the next process
        asks again. Where the file cannot be used, each process asks for itself. Raises `ProviderAway` where another process asks for too long.
        """
        folder = _private(Path(tempfile.gettempdir()) / f"ordersaga-{self._signer.token(PURPOSE, 'folder')}")
        if folder is None:
            return await renew()
        async with contextlib.AsyncExitStack() as ending:
            try:
                _forget(folder)
                file = await ending.enter_async_context(_locked(folder / self._signer.token(PURPOSE, refresh_token)))
                kept = os.pread(file, 1_000_000, 0).decode()
            except OSError as error:
                _tell(error)
                return await renew()
            found = self._signer.unseal(PURPOSE, kept, SignedIn)
            if found is None or is_used_up(found):
                found = await renew()
                try:
                    os.ftruncate(file, 0)
                    os.pwrite(file, self._signer.seal(PURPOSE, found).encode(), 0)
                except OSError as error:  # such as a full disk: the tokens are good all the same
                    _tell(error)
            return found


def _tell(error: OSError) -> None:
    log.warning("the processes of this machine cannot share renewals of tokens: set TMPDIR", error=str(error))


def _forget(folder: Path) -> None:
    """Remove what nobody asks for any more."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 2 * KEPT_S:
                path.unlink()


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[int]:
    """The file, which this process alone has. Raises `ProviderAway`."""
    end_s = time.monotonic() + LOCKED_S
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while not _lock(file):  # of other processes there is no event
                if time.monotonic() > end_s:
                    raise ProviderAway("another process has asked it, and does not go on")
                await asyncio.sleep(LOOK_EVERY_S)
            if _is_at(file, path):  # not one that was removed meanwhile
                yield file
                return
        finally:
            os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _private(folder: Path) -> Path | None:
    """The folder, if it is this user's alone. None: the processes do not share their renewals."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        _tell(error)
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        log.warning(
            "the processes of this machine cannot share renewals of tokens: remove this folder", folder=str(folder)
        )
        return None
    return folder
