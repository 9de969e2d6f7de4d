"""What to do after each error of PostgreSQL, decided by SQLSTATE, class by class.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from enum import Enum, auto
from typing import Final

import asyncpg


class ErrorKind(Enum):
    """The kinds of errors, by what to do after them."""

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
    "01": ErrorKind.RECORD,  # warnings, and
    "02": ErrorKind.RECORD,  # no data: never raised
    "03": ErrorKind.RECORD,
    "08": ErrorKind.RECONNECT,
    "09": ErrorKind.RECORD,
    "0A": ErrorKind.DEPLOYMENT,
    "0B": ErrorKind.RECONNECT,  # a transaction begun where none may begin
    "0F": ErrorKind.RECORD,
    "0L": ErrorKind.DEPLOYMENT,
    "0P": ErrorKind.DEPLOYMENT,
    "0Z": ErrorKind.RECORD,
    "10": ErrorKind.RECORD,
    "20": ErrorKind.RECORD,
    "21": ErrorKind.RECORD,
    "22": ErrorKind.RECORD,
    "23": ErrorKind.RECORD,
    "24": ErrorKind.RECONNECT,
    "25": ErrorKind.RECONNECT,  # 25006: a former primary still answers after a failover, read-only
    "26": ErrorKind.RECONNECT,  # the prepared statement is gone: a pooler between us and the server
    "27": ErrorKind.RECORD,
    "28": ErrorKind.RECONNECT,  # a password or pg_hba.conf that is being changed: retried, with an alarm
    "2B": ErrorKind.DEPLOYMENT,
    "2D": ErrorKind.RECONNECT,
    "2F": ErrorKind.RECORD,
    "34": ErrorKind.RECONNECT,
    "38": ErrorKind.RECORD,
    "39": ErrorKind.RECORD,
    "3B": ErrorKind.RECONNECT,
    "3D": ErrorKind.RECONNECT,  # the database does not exist (yet)
    "3F": ErrorKind.DEPLOYMENT,
    "40": ErrorKind.AGAIN,
    "42": ErrorKind.DEPLOYMENT,
    "44": ErrorKind.RECORD,
    "53": ErrorKind.AGAIN,
    "54": ErrorKind.RECORD,  # fails at once, so halving tells one value too large for an index from a set too large for a statement
    "55": ErrorKind.DEPLOYMENT,
    "57": ErrorKind.RECONNECT,
    "58": ErrorKind.AGAIN,  # the disk, the operating system
    "72": ErrorKind.AGAIN,
    "F0": ErrorKind.DEPLOYMENT,
    "HV": ErrorKind.DEPLOYMENT,
    "P0": ErrorKind.RECORD,
    "XX": ErrorKind.RECORD,  # XX001: a damaged page fails only the records that need it
}
STATES: Final = {
    "53200": ErrorKind.SMALLER,  # out of memory
    "55006": ErrorKind.AGAIN,
    "55P03": ErrorKind.LOCKED,
    "57000": ErrorKind.AGAIN,
    "57014": ErrorKind.SMALLER,  # statement_timeout, or an operator's pg_cancel_backend
}
TRANSIENT: Final = (ErrorKind.AGAIN, ErrorKind.RECONNECT, ErrorKind.SMALLER, ErrorKind.LOCKED)


def kind_of(error: BaseException) -> ErrorKind:
    """The kind of an error of asyncpg or of the network. Any other error is `RECORD`.

    asyncpg raises InternalClientError when the server dies in the middle of an exchange. For a value that a column cannot take it raises
    an InterfaceError that is also a ValueError.
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return ErrorKind.AGAIN  # the table was migrated; asyncpg prepares the statement again
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return STATES.get(state) or CLASSES.get(state[:2], ErrorKind.RECORD)
    if isinstance(error, ValueError):
        return ErrorKind.RECORD
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return ErrorKind.RECONNECT
    return ErrorKind.RECORD


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help. No record is at fault, unless it is alone in the set and too large."""
    return kind_of(error) in TRANSIENT


def is_deployment(error: BaseException) -> bool:
    """Whether the code and the schema do not fit together: a missing column, table or privilege, a syntax error."""
    return kind_of(error) is ErrorKind.DEPLOYMENT


def is_too_large(error: BaseException) -> bool:
    """Whether a smaller set may succeed."""
    return kind_of(error) is ErrorKind.SMALLER


def is_locked(error: BaseException) -> bool:
    """Whether another transaction has locked a row for longer than `lock_timeout`."""
    return kind_of(error) is ErrorKind.LOCKED


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is lost, so that the outcome of its last commit is unknown."""
    return kind_of(error) is ErrorKind.RECONNECT
