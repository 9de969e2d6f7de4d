"""What the guide lacks: how the kit puts a product in stock, places an order, pays, or restarts a service. An HTTP request, an SQL statement or a command."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import tempfile
from string import Template
from typing import Any, Final
from uuid import uuid4

import aiohttp
import asyncpg
from msgspec import Struct

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
HOOK_S: Final = 30.0
AT_ONCE_MAX: Final = 16
SAID_CHARS_MAX: Final = 400
FORMS: Final = (
    "'POST http://host/path {\"body\": \"$name\"}', 'postgresql://user@host/db INSERT ...', or 'run command arguments'"
)


class HookFailed(Exception):
    """A hook did not do what it should, so the case cannot be judged. The text says which hook, and what came back."""


class WrongHook(ValueError):
    """A hook that is none of the three forms."""


class Hook(Struct, frozen=True):
    """One of the three forms. `$name` in it is replaced by a value of the call: in SQL by a literal, in a command by a quoted word, in a body
    by JSON."""

    name: str
    text: str

    def __post_init__(self) -> None:
        word = self.text.split(maxsplit=1)[0] if self.text.strip() else ""
        rest = self.text.strip()[len(word) :].strip()
        if word in METHODS and not rest.startswith(("http://", "https://")):
            raise WrongHook(f"the hook {self.name} is {self.text!r}, without an http:// address; write it as {FORMS}")
        if not rest or not (word in METHODS or word == "run" or word.startswith(("postgresql://", "postgres://"))):
            raise WrongHook(f"the hook {self.name} is {self.text!r}; write it as {FORMS}")


class Answer(Struct, frozen=True):
    """What a hook gave back. `status`: an HTTP status; 200 for the other forms."""

    status: int
    body: Any

    def find(self, *names: str) -> Any:
        """The first value under one of these names, anywhere in the body."""
        for name in names:
            if (found := _find(self.body, name)) is not None:
                return found
        return None


def _find(part: Any, name: str) -> Any:
    if isinstance(part, dict):
        if part.get(name) is not None:
            return part[name]
        part = list(part.values())
    if isinstance(part, list):
        return next((found for each in part if (found := _find(each, name)) is not None), None)
    return None


class Hooks:
    """The hooks of a role by name. Use with `async with`."""

    def __init__(self, hooks: dict[str, str], headers: dict[str, str], restart: str | None) -> None:
        self._hooks: Final = {name: Hook(name, text) for name, text in hooks.items() if text}
        self._headers: Final = headers
        self.restart: Final = restart
        self._gate: Final = asyncio.Semaphore(AT_ONCE_MAX)
        self._pools: Final[dict[str, asyncpg.Pool]] = {}
        self._pool_lock: Final = asyncio.Lock()
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> "Hooks":
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HOOK_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        for pool in self._pools.values():
            pool.terminate()

    def has(self, name: str) -> bool:
        """Whether there is such a hook."""
        return name in self._hooks

    async def call(self, name: str, values: dict[str, Any], *, may_be_refused: bool = False) -> Answer:
        """Call a hook. Raises `HookFailed` where it does not answer, or answers with an error that `may_be_refused` does not allow."""
        hook = self._hooks[name]
        values = {"userId": str(uuid4()), "userRoles": "CUSTOMER"} | values
        word, rest = hook.text.split(maxsplit=1)
        async with self._gate:
            try:
                if word == "run":
                    quoted = {key: shlex.quote(_text(value)) for key, value in values.items()}
                    answer = await _run(Template(rest).safe_substitute(quoted))  # the shell has variables of its own
                elif word in METHODS:
                    answer = await self._request(word, rest, values)
                else:
                    answer = await self._statement(word, rest, values)
            except TimeoutError as error:
                raise HookFailed(f"the hook {name} did not end within {HOOK_S:g} s") from error
            except (
                OSError,
                OverflowError,
                aiohttp.ClientError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                ValueError,
            ) as error:
                raise HookFailed(f"the hook {name} failed: {type(error).__name__}: {error}") from error
        if answer.status >= 500 or (answer.status >= 400 and not may_be_refused):
            raise HookFailed(
                f"the hook {name} was answered {answer.status}: {json.dumps(answer.body, ensure_ascii=False)[:SAID_CHARS_MAX]}"
            )
        return answer

    async def _request(self, method: str, rest: str, values: dict[str, Any]) -> Answer:
        url, _, body = rest.partition(" ")
        plain = {key: _text(value) for key, value in values.items()}
        quoted = {
            key: json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)
            for key, value in values.items()
        }
        headers = {name: _filled(value, plain) for name, value in self._headers.items()}
        data = _filled(body.strip(), quoted) or None
        async with self._http.request(
            method, _filled(url, plain), data=data, headers={"Content-Type": "application/json", **headers}
        ) as answer:
            said = await answer.text()
            try:
                return Answer(answer.status, json.loads(said))
            except ValueError:
                return Answer(answer.status, said[:SAID_CHARS_MAX])

    async def _statement(self, url: str, statement: str, values: dict[str, Any]) -> Answer:
        async with self._pool_lock:
            if url not in self._pools:
                self._pools[url] = await asyncpg.create_pool(url, min_size=0, max_size=4, timeout=HOOK_S)
        literals = {key: _literal(value) for key, value in values.items()}
        filled = _filled(statement, literals)
        async with asyncio.timeout(HOOK_S), self._pools[url].acquire() as db:
            try:
                rows = await db.fetch(filled)
            except (
                asyncpg.PostgresSyntaxError
            ):  # several statements are one only for the simple protocol, which returns no rows
                await db.execute(filled)
                rows = []
        return Answer(200, [{name: str(value) for name, value in row.items()} for row in rows])

    async def run_restart(self) -> None:
        """Run the restart command to its end."""
        assert self.restart is not None
        try:
            await _run(self.restart)
        except TimeoutError as error:
            raise HookFailed(
                f"the restart command did not end within {HOOK_S:g} s; it has to start the service in the background"
            ) from error
        except OSError as error:
            raise HookFailed(f"the restart command failed: {error}") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, int) else "'" + _text(value).replace("'", "''") + "'"


def _filled(text: str, values: dict[str, str]) -> str:
    try:
        return Template(text).substitute(values)
    except KeyError as error:
        raise ValueError(f"there is no value ${error.args[0]}; there are ${', $'.join(values)}") from error


async def _run(command: str) -> Answer:
    """Run a command in the shell until it ends. What it leaves running may keep its output open, so that goes to a file. If it does not end,
    everything that it has started is killed."""
    with tempfile.TemporaryFile() as heard:
        process = await asyncio.create_subprocess_shell(
            command, stdout=heard, stderr=heard, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        try:
            await asyncio.wait_for(process.wait(), HOOK_S)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        heard.seek(0)
        text = heard.read().decode(errors="replace").strip()
    if process.returncode:
        raise OSError(f"exit code {process.returncode}: {text[-SAID_CHARS_MAX:]}")
    try:
        return Answer(200, json.loads(text))
    except ValueError:
        return Answer(200, text)
