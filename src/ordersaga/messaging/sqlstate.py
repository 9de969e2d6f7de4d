"""What to do after each error of PostgreSQL, decided by SQLSTATE, class by class.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from enum import Enum, auto
from typing import Final

import asyncpg


class Verdict(Enum):
    """What to do after an error."""

    AGAIN = auto()
    """Retry on the same connection: neither a record nor the deployment caused the error."""
    RECONNECT = auto()
    """Retry on a new connection: this one is lost, leads to a read-only server, or is in an unexpected state."""
    SMALLER = auto()
    """Retry with fewer records: the set was too large for a statement. A record that is too large alone is at fault."""
    LOCKED = auto()
    """Another transaction has locked a row for longer than `lock_timeout`. Records that do not need the row can go on."""
    DEPLOYMENT = auto()
    """The code and the schema do not fit together: no record is at fault, and a retry does not help."""
    RECORD = auto()
    """One record or request is at fault: it is isolated by halving and set aside."""


CLASSES: Final = {
    "01": Verdict.RECORD,  # warnings, and
    "02": Verdict.RECORD,  # no data: never raised
    "03": Verdict.RECORD,
    "08": Verdict.RECONNECT,
    "09": Verdict.RECORD,
    "0A": Verdict.DEPLOYMENT,
    "0B": Verdict.RECONNECT,  # a transaction begun where none may begin
    "0F": Verdict.RECORD,
    "0L": Verdict.DEPLOYMENT,
    "0P": Verdict.DEPLOYMENT,
    "0Z": Verdict.RECORD,
    "10": Verdict.RECORD,
    "20": Verdict.RECORD,
    "21": Verdict.RECORD,
    "22": Verdict.RECORD,
    "23": Verdict.RECORD,
    "24": Verdict.RECONNECT,
    "25": Verdict.RECONNECT,  # 25006: a former primary still answers after a failover, read-only
    "26": Verdict.RECONNECT,  # the prepared statement is gone: a pooler between us and the server
    "27": Verdict.RECORD,
    "28": Verdict.RECONNECT,  # a password or pg_hba.conf that is being changed: retried, with an alarm
    "2B": Verdict.DEPLOYMENT,
    "2D": Verdict.RECONNECT,
    "2F": Verdict.RECORD,
    "34": Verdict.RECONNECT,
    "38": Verdict.RECORD,
    "39": Verdict.RECORD,
    "3B": Verdict.RECONNECT,
    "3D": Verdict.RECONNECT,  # the database does not exist (yet)
    "3F": Verdict.DEPLOYMENT,
    "40": Verdict.AGAIN,
    "42": Verdict.DEPLOYMENT,
    "44": Verdict.RECORD,
    "53": Verdict.AGAIN,
    "54": Verdict.RECORD,  # fails at once, so halving tells one value too large for an index from a set too large for a statement
    "55": Verdict.DEPLOYMENT,
    "57": Verdict.RECONNECT,
    "58": Verdict.AGAIN,  # the disk, the operating system
    "72": Verdict.AGAIN,
    "F0": Verdict.DEPLOYMENT,
    "HV": Verdict.DEPLOYMENT,
    "P0": Verdict.RECORD,
    "XX": Verdict.RECORD,  # XX001: a damaged page fails only the records that need it
}
STATES: Final = {
    "53200": Verdict.SMALLER,  # out of memory
    "55006": Verdict.AGAIN,
    "55P03": Verdict.LOCKED,
    "57000": Verdict.AGAIN,
    "57014": Verdict.SMALLER,  # statement_timeout, or an operator's pg_cancel_backend
}
TRANSIENT: Final = (Verdict.AGAIN, Verdict.RECONNECT, Verdict.SMALLER, Verdict.LOCKED)


def verdict_of(error: BaseException) -> Verdict:
    """The verdict on an error of asyncpg or of the network. Any other error is `RECORD`.

    asyncpg raises InternalClientError when the server dies in the middle of an exchange. For a value that a column cannot take it raises
    an InterfaceError that is also a ValueError.
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Verdict.AGAIN  # the table was migrated; asyncpg prepares the statement again
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return STATES.get(state) or CLASSES.get(state[:2], Verdict.RECORD)
    if isinstance(error, ValueError):
        return Verdict.RECORD
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return Verdict.RECONNECT
    return Verdict.RECORD


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help: no record of the set is at fault, unless it is the only one."""
    return verdict_of(error) in TRANSIENT


def is_deployment(error: BaseException) -> bool:
    """Whether the code and the schema do not fit together: a missing column, table or privilege, a syntax error."""
    return verdict_of(error) is Verdict.DEPLOYMENT


def is_too_large(error: BaseException) -> bool:
    """Whether a smaller set may succeed."""
    return verdict_of(error) is Verdict.SMALLER


def is_locked(error: BaseException) -> bool:
    """Whether another transaction has locked a row for longer than `lock_timeout`."""
    return verdict_of(error) is Verdict.LOCKED


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is lost, so that the outcome of its last commit is unknown."""
    return verdict_of(error) is Verdict.RECONNECT
