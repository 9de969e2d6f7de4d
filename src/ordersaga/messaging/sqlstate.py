"""What each error of PostgreSQL means for whoever met it: decided by SQLSTATE, class by class.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from enum import Enum, auto
from typing import Final

import asyncpg


class Verdict(Enum):
    """What to do after an error."""

    AGAIN = auto()
    """Try again: nobody's fault, and the connection is as good as before."""
    RECONNECT = auto()
    """Try again on a new connection: this one is lost, leads to a server that cannot write, or is not in the state that we believe."""
    SMALLER = auto()
    """Try again with less: too much for one statement. What is too much by itself is at fault."""
    LOCKED = auto()
    """Another transaction holds a row for longer than we wait. Whatever does not need that row can go on."""
    DEPLOYMENT = auto()
    """The code and the database do not fit together; no record is to blame, and trying again does not help."""
    RECORD = auto()
    """What one record or request brought: found by halving, and set aside."""


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
    "25": Verdict.RECONNECT,  # 25006: after a failover the old server still answers, and takes no write
    "26": Verdict.RECONNECT,  # the server has forgotten a prepared statement: somebody stands in between
    "27": Verdict.RECORD,
    "28": Verdict.RECONNECT,  # a password that is being changed, a pg_hba.conf in the making: tried again, and said
    "2B": Verdict.DEPLOYMENT,
    "2D": Verdict.RECONNECT,
    "2F": Verdict.RECORD,
    "34": Verdict.RECONNECT,
    "38": Verdict.RECORD,
    "39": Verdict.RECORD,
    "3B": Verdict.RECONNECT,
    "3D": Verdict.RECONNECT,  # the database is not there (yet)
    "3F": Verdict.DEPLOYMENT,
    "40": Verdict.AGAIN,
    "42": Verdict.DEPLOYMENT,
    "44": Verdict.RECORD,
    "53": Verdict.AGAIN,
    "54": Verdict.RECORD,  # fails at once, so halving tells a value that no index takes from a set that no statement takes
    "55": Verdict.DEPLOYMENT,
    "57": Verdict.RECONNECT,
    "58": Verdict.AGAIN,  # the disk, the operating system
    "72": Verdict.AGAIN,
    "F0": Verdict.DEPLOYMENT,
    "HV": Verdict.DEPLOYMENT,
    "P0": Verdict.RECORD,
    "XX": Verdict.RECORD,  # XX001: a damaged page is the fault of whoever needs it, and of nobody else
}
STATES: Final = {
    "53200": Verdict.SMALLER,  # out of memory
    "55006": Verdict.AGAIN,
    "55P03": Verdict.LOCKED,
    "57000": Verdict.AGAIN,
    "57014": Verdict.SMALLER,  # statement_timeout, or an operator's pg_cancel_backend
}
PASSING: Final = (Verdict.AGAIN, Verdict.RECONNECT, Verdict.SMALLER, Verdict.LOCKED)


def verdict_of(error: BaseException) -> Verdict:
    """What an error of asyncpg, or of the network, means. One that is not the database's at all is a record's fault.

    An InternalClientError is what asyncpg makes of a server that dies in the middle of an exchange. Its word for a value that no column
    can take is an InterfaceError too, and also a ValueError.
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Verdict.AGAIN  # somebody has migrated the table; asyncpg prepares it anew
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return STATES.get(state) or CLASSES.get(state[:2], Verdict.RECORD)
    if isinstance(error, ValueError):
        return Verdict.RECORD
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError):
        return Verdict.RECONNECT
    return Verdict.RECORD


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help and no record is to blame, as long as there is more than one."""
    return verdict_of(error) in PASSING


def is_deployment(error: BaseException) -> bool:
    """Whether the code and the database do not fit together: a missing column or table, a syntax error, a privilege."""
    return verdict_of(error) is Verdict.DEPLOYMENT


def is_too_large(error: BaseException) -> bool:
    """Whether less at once may succeed."""
    return verdict_of(error) is Verdict.SMALLER


def is_locked(error: BaseException) -> bool:
    """Whether a row was held by another transaction for longer than `lock_timeout`."""
    return verdict_of(error) is Verdict.LOCKED


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is of no use any more, so that what was committed on it last is not known."""
    return verdict_of(error) is Verdict.RECONNECT
