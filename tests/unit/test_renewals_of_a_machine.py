"""Renewals that the web processes of a machine share, where the file cannot be used, its holder is frozen, or the refresh token is good again."""

import errno
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import jwt
import pytest

from ordersaga.web import renewing, shared_renewals
from ordersaga.web.accounts import User
from ordersaga.web.provider import ProviderAway, SignedIn
from ordersaga.web.renewing import RENEWAL, Renewing
from ordersaga.web.signing import Signer

USER = UUID("00000000-0000-4000-8000-000000000001")
SIGNER = Signer(b"a secret of the web process")


class Renewals:
    """A provider that renews, and lets a refresh token be used again where it `keeps` it. Its tokens last for so long."""

    def __init__(self, keeps: bool = True, lasts_s: float = 3_600) -> None:
        self.keeps = keeps
        self.lasts_s = lasts_s
        self.count = 0

    async def renewed(self, refresh_token: str, _: UUID) -> SignedIn:
        self.count += 1
        return SignedIn(token(self.lasts_s), None, refresh_token if self.keeps else f"{refresh_token}+")


def token(lasts_s: float) -> str:
    now = int(time.time())
    claims = {"sub": str(USER), "iat": now - 36_000, "exp": now + lasts_s, "jti": os.urandom(4).hex()}
    return jwt.encode(claims, "k" * 32)


async def asked(provider: Renewals, processes: int = 1) -> list[str | None]:
    """The tokens that these processes get with one cookie."""
    several = [Renewing(cast(Any, provider), SIGNER, None) for _ in range(processes)]
    cookie = several[0].sealed(RENEWAL, USER, "refresh")
    found = [await each.fresh(User(USER, token=token(10)), RENEWAL, cookie) for each in several]
    return [each and each[0].token for each in found]


def one_file(folder: Path) -> Path:
    (found,) = folder.glob("*/*")
    return found


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "open", "flock"])
async def test_tokens_are_good_where_the_file_cannot_be_used(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(fcntl if call == "flock" else os, call, refuse)
    provider = Renewals()
    assert await asked(provider) != [None] and provider.count == 1


@pytest.mark.parametrize(("keeps", "lasts_s", "count"), [(True, 10, 3), (True, 3_600, 1), (False, 10, 1)])
async def test_a_refresh_token_that_stays_good_renews_again_when_its_token_ends(
    keeps: bool, lasts_s: float, count: int
) -> None:
    provider = Renewals(keeps, lasts_s)
    assert len(set(await asked(provider, processes=3))) == provider.count == count


async def test_a_process_asks_again_with_the_same_refresh_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "AGAIN_S", 0.0)
    provider = Renewals(lasts_s=10)
    one = Renewing(cast(Any, provider), SIGNER, None)
    cookie = one.sealed(RENEWAL, USER, "refresh")
    user = User(USER, token=token(10))
    tokens = set()
    for _ in range(3):
        found = await one.fresh(user, RENEWAL, cookie)
        assert found is not None
        tokens.add(found[0].token)
    assert len(tokens) == 3


async def test_a_process_that_is_frozen_while_it_asks_holds_nobody_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(Renewals())
    file = one_file(tmp_path)
    monkeypatch.setattr(shared_renewals, "LOCKED_S", 0.0)
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        provider = Renewals()
        assert await asked(provider) == [None] and provider.count == 0
        with pytest.raises(ProviderAway, match="another process"):
            async with shared_renewals._locked(file):
                pass
    assert await asked(provider) != [None]
