"""Web processes with one session's cookie ask the provider once: it takes each refresh token once, and a second use ends the session."""

import asyncio
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from ordersaga.settings import Settings
from ordersaga.web.accounts import User
from ordersaga.web.provider import Provider
from ordersaga.web.renewing import RENEWAL, Renewing
from ordersaga.web.signing import Signer
from tests.unit.oidc_provider import CLIENT, SECRET, USER, OidcProvider, serving

KEY = b"a secret that all web processes have"
PROCESSES = 4
LIMIT_S = 60


def renewing(issuer: str, key: bytes = KEY) -> Renewing:
    values = {
        "development": True,
        "web_sign_in": "oidc",
        "web_url": "http://shop.example",
        "web_session_secret": KEY.decode(),
    }
    values |= {"oidc_issuer": issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    return Renewing(Provider(Settings.model_validate(values)), Signer(key), None)


async def process(issuer: str, token: str, cookie: str) -> None:
    """What each process does when it is told to: renew, and tell the new token."""
    one = renewing(issuer)
    print("ready", flush=True)
    sys.stdin.readline()
    found = await one.fresh(User(UUID(USER), token=token), RENEWAL, cookie)
    print(found[0].token if found else "none", flush=True)


@pytest.mark.parametrize("at_once", [True, False])
async def test_processes_share_one_renewal(tmp_path: Path, at_once: bool) -> None:
    with serving() as provider:
        token, cookie = begun(provider)
        command = [sys.executable, "-m", __name__, provider.issuer, token, cookie]
        several = [
            await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={"TMPDIR": str(tmp_path)}
                | {"PYTHONPATH": ":".join(sys.path)}, cwd=Path(__file__).parents[2],
            )
            for _ in range(PROCESSES)
        ]  # fmt: skip
        told: list[str] = []
        async with asyncio.timeout(LIMIT_S):
            for each in several:
                assert each.stdout and await each.stdout.readline() == b"ready\n"
            for each in several:
                assert each.stdin and each.stdout
                each.stdin.write(b"now\n")
                if not at_once:
                    told.append((await each.stdout.readline()).decode().strip())
            for each in several if at_once else ():
                assert each.stdout
                told.append((await each.stdout.readline()).decode().strip())
            for each in several:
                assert await each.wait() == 0
        assert len(told) == PROCESSES and len(set(told)) == 1 and "none" not in told
        assert provider.renewals == 1
        assert provider.refresh_tokens, "the provider has not ended the session"


async def test_a_renewal_that_failed_is_tried_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving() as provider:
        token, cookie = begun(provider)
        user = User(UUID(USER), token=token)
        provider.mode = "fails"
        assert await renewing(provider.issuer).fresh(user, RENEWAL, cookie) is None
        provider.mode = "answers"
        first = await renewing(provider.issuer).fresh(user, RENEWAL, cookie)
        second = await renewing(provider.issuer).fresh(user, RENEWAL, cookie)
        assert first and second and first[0].token == second[0].token and provider.renewals == 1
        kept = b"".join(path.read_bytes() for path in files(tmp_path))
        assert kept and (first[0].token or "").encode() not in kept, "it is sealed"
        assert {path.stat().st_mode & 0o077 for each in files(tmp_path) for path in (each, each.parent)} == {0}


async def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving() as provider:
        token, cookie = begun(provider)
        assert await renewing(provider.issuer).fresh(User(UUID(USER), token=token), RENEWAL, cookie)
        for file in files(tmp_path):
            file.parent.chmod(0o777)
            file.unlink()
        token, cookie = begun(provider)
        assert await renewing(provider.issuer).fresh(User(UUID(USER), token=token), RENEWAL, cookie)
        assert files(tmp_path) == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def begun(provider: OidcProvider) -> tuple[str, str]:
    """A token that is about to run out, and the cookie with the refresh token."""
    provider.begin()
    provider.renews = True
    now = int(time.time())
    provider.access = {"iat": now - 3_600, "exp": now + 30}
    made = provider.tokens(None)
    provider.access = {}
    sealed = renewing(provider.issuer).sealed(RENEWAL, UUID(USER), made["refresh_token"])
    return str(made["access_token"]), sealed


if __name__ == "__main__":
    asyncio.run(process(*sys.argv[1:]))
