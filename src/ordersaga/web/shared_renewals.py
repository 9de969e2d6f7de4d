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

from ordersaga.web.provider import SignedIn
from ordersaga.web.signing import Signer

log: Final = structlog.get_logger()

KEPT_S: Final = 60.0
"""A request may come so much later with the cookie of before."""
LOOK_EVERY_S: Final = 0.05
PURPOSE: Final = "shared renewal"


class SharedRenewals:
    """The renewals of this machine's processes that have this secret."""

    def __init__(self, signer: Signer) -> None:
        self._signer: Final = signer

    async def once(self, refresh_token: str, renew: Callable[[], Awaitable[SignedIn]]) -> SignedIn:
        """What `renew` returns, here or in another process. An error is raised where it happens, and the next process asks again."""
        folder = _private(Path(tempfile.gettempdir()) / f"ordersaga-{self._signer.token(PURPOSE, 'folder')}")
        if folder is None:
            return await renew()
        _forget(folder)
        async with _locked(folder / self._signer.token(PURPOSE, refresh_token)) as file:
            found = self._signer.unseal(PURPOSE, os.pread(file, 1_000_000, 0).decode(), SignedIn)
            if found is None:
                found = await renew()
                os.pwrite(file, self._signer.seal(PURPOSE, found).encode(), 0)
            return found


def _forget(folder: Path) -> None:
    """Remove what nobody asks for any more."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 2 * KEPT_S:
                path.unlink()


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[int]:
    """The file, which this process alone has."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while not _lock(file):  # noqa: ASYNC110  # of other processes there is no event
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
        log.warning("the processes of this machine cannot share renewals of tokens: set TMPDIR", error=str(error))
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        log.warning(
            "the processes of this machine cannot share renewals of tokens: remove this folder", folder=str(folder)
        )
        return None
    return folder
