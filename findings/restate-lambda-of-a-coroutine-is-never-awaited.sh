#!/usr/bin/env bash
# Software: restate-sdk 1.3.0 (Python), restate-server 1.7.12.
#
# Behaviour: a durable step whose action is a lambda that calls an async function passes `mypy --strict`, since
# an action may be any callable that returns a coroutine, and never does its work. The SDK looks at the action
# and not at what it returns: the lambda is no `async def`, so it runs in a thread, and the coroutine is taken
# for the step's result. That cannot be serialised, which counts as a failure that may pass: the server tries
# the invocation again, for ever by default. The same function given by name is awaited.
#
# Expected: what an action returns is awaited where it is awaitable, as the types say; or such an action is
# refused for good.
#
# Seen:
#   mypy --strict: nothing found
#   by name:       paid, charges: 1
#   by lambda:     no answer in 5 s, charges: 0, tries: more than one
#                  TypeError('Object of type coroutine is not JSON serializable')
set -euo pipefail

folder=$(mktemp -d)
started=()
trap 'kill -9 "${started[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check restate-sdk==1.3.0 hypercorn==0.18.0 mypy==1.20.1 || exit 2
cd "$folder"
npm install --silent --no-audit --no-fund @restatedev/restate-server@1.7.12 || exit 2
server=$(find node_modules/@restatedev -path '*/bin/restate-server' -type f | head -1)
read -r service ingress admin node < <(python3 - <<'PY'
import socket

sockets = [socket.socket() for _ in range(4)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PY
)

cat > shop.py <<'PY'
import asyncio
import sys

import hypercorn
import hypercorn.asyncio
import restate

payments = restate.Service("payments")
charges = 0


async def charge(order: str) -> str:
    global charges
    charges += 1
    return "paid"


@payments.handler()
async def by_name(ctx: restate.Context, order: str) -> str:
    return await ctx.run_typed("charge", charge, restate.RunOptions[str](), order)


@payments.handler()
async def by_lambda(ctx: restate.Context, order: str) -> str:
    return await ctx.run_typed("charge", lambda: charge(order))


@payments.handler()
async def charged(ctx: restate.Context) -> int:
    return charges


if __name__ == "__main__":
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(hypercorn.asyncio.serve(restate.app(services=[payments]), config))
PY
types=$(venv/bin/mypy --strict --no-error-summary shop.py || true)
echo "mypy --strict: ${types:-nothing found}"

venv/bin/python shop.py "$service" > shop.log 2>&1 &
started+=($!)
RESTATE_INGRESS__BIND_ADDRESS="127.0.0.1:$ingress" RESTATE_ADMIN__BIND_ADDRESS="127.0.0.1:$admin" \
    RESTATE_BIND_ADDRESS="127.0.0.1:$node" RESTATE_ADVERTISED_ADDRESS="http://127.0.0.1:$node" \
    "$server" --base-dir data > server.log 2>&1 &
started+=($!)

venv/bin/python - "$service" "$ingress" "$admin" "$types" <<'PY'
import json
import sys
import time
import urllib.request

service, ingress, admin, types = sys.argv[1:]


def ask(url, body=None, timeout=60):
    headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method="POST")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.loads(answer.read())


end = time.monotonic() + 60
while True:
    try:
        ask(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})
        break
    except OSError:
        if time.monotonic() > end:
            sys.exit(2)
        time.sleep(0.3)
calls = f"http://127.0.0.1:{ingress}/payments"
said = ask(f"{calls}/by_name", "an order")
charges = ask(f"{calls}/charged")
print(f"by name:       {said}, charges: {charges}")
try:
    answer = ask(f"{calls}/by_lambda", "an order", timeout=5)
except TimeoutError:
    answer = "no answer in 5 s"
more = ask(f"{calls}/charged") - charges
query = "SELECT retry_count, last_failure FROM sys_invocation WHERE target_handler_name = 'by_lambda'"
(row,) = ask(f"http://127.0.0.1:{admin}/query", {"query": query})["rows"]
tries = "more than one" if row["retry_count"] > 1 else str(row["retry_count"])
failure = "TypeError('Object of type coroutine is not JSON serializable')"
seen = failure if failure in row["last_failure"] else row["last_failure"]
print(f"by lambda:     {answer}, charges: {more}, tries: {tries}\n               {seen}")
right = (types, said, charges, answer, more, tries, seen)
sys.exit(right != ("", "paid", 1, "no answer in 5 s", 0, "more than one", failure))
PY
