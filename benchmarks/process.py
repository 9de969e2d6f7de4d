"""Load from a process of its own: it is given its plan, says when it is ready, begins when it is told to, and answers at the end."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

Result = TypeVar("Result")
Plan = TypeVar("Plan")


class LoadProcess(Generic[Result]):
    """A started loading process, connected and waiting, so that its start is not part of what is measured."""

    def __init__(self, process: asyncio.subprocess.Process, result: type[Result]) -> None:
        self._process = process
        self._result = result

    @classmethod
    async def ready(cls, module: str, plan: Any, result: type[Result]) -> "LoadProcess[Result]":
        """Start `python -m MODULE`, which must call `obey`. Raises RuntimeError if it ends before it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**30
        )
        load = cls(process, result)
        body = msgspec.msgpack.encode(plan)
        assert process.stdin and process.stdout
        process.stdin.write(len(body).to_bytes(8, "big") + body)
        await process.stdin.drain()
        if not await process.stdout.readline():
            raise RuntimeError(f"{module} ended before it was ready")
        return load

    async def go(self) -> Result:
        """Begin, and wait for the result. Raises RuntimeError if the process fails."""
        output, _ = await self._process.communicate(b"\n")
        if self._process.returncode:
            raise RuntimeError("the loading process failed; what it said is above")
        return msgspec.msgpack.decode(output, type=self._result)


def obey(plan: type[Plan], prepare: Callable[[Plan], Callable[[], Any]]) -> None:
    """The loading process's side: `prepare` connects and returns what is to be done on the word, whose result goes back."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    go = prepare(msgspec.msgpack.decode(stdin.read(int.from_bytes(stdin.read(8), "big")), type=plan))
    stdout.write(b"ready\n")
    stdout.flush()
    stdin.readline()
    stdout.write(msgspec.msgpack.encode(go()))
    stdout.flush()
