#!/usr/bin/env bash
# Software: uvicorn 0.54.0 with httptools 0.9.0 and h11 0.16.0.
#
# Behaviour: a request that arrives on a connection while the one before is still being answered, as HTTP/1.1
# allows, is started from within that one's task. It begins with a copy of its context, so every context
# variable that the first request has set, such as the caller, the tenant or the trace, is set for the second
# one, too. The same two requests one after the other, on the same connection, begin empty.
#
# Expected: each request begins with the context of the server, whenever it has arrived: frameworks and
# loggers keep what belongs to one request in context variables for that very reason.
#
# Seen, what the second request finds in a variable that each request sets to its own path:
#   httptools one after the other: nothing
#   httptools pipelined:           /first
#   h11       one after the other: nothing
#   h11       pipelined:           /first
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0 || exit 2

cd "$folder"
venv/bin/python - <<'PY'
import asyncio
import contextvars
import socket
import sys

import uvicorn

owner = contextvars.ContextVar("owner", default="nothing")


async def app(scope, receive, send):
    found = owner.get()
    owner.set(scope["path"])
    await asyncio.sleep(0.2)  # so that a pipelined request arrives meanwhile
    body = found.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return (await reader.readexactly(length)).decode()


async def second_finds(port, pipelined):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    first, second = (f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode() for path in ("/first", "/second"))
    if pipelined:
        writer.write(first + second)
        await answer(reader)
    else:
        writer.write(first)
        await answer(reader)
        writer.write(second)
    found = await answer(reader)
    writer.close()
    return found


async def main():
    seen = []
    for parser in ("httptools", "h11"):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(app, http=parser, lifespan="off", log_level="critical"))
            serving = asyncio.create_task(server.serve([listener]))
            while not server.started:
                await asyncio.sleep(0.05)
            for pipelined in (False, True):
                found = await second_finds(port, pipelined)
                seen.append(found)
                print(f"{parser:9} {'pipelined' if pipelined else 'one after the other'}: {found}")
            server.should_exit = True
            await serving
    return seen


sys.exit(asyncio.run(main()) != ["nothing", "/first"] * 2)
PY
