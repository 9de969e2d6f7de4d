"""How a command that fails ends: with a sentence, secrets masked. It prints a traceback only with ORDERSAGA_LOG_LEVEL=debug."""

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from typing import Any, Final

import asyncpg
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from ordersaga.cli.options import err, fail
from ordersaga.masking import masked
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.kafka import KafkaUnavailable, why_unreachable
from ordersaga.settings import Settings

END_WITHIN_S: Final = 1.5
"""After Ctrl-C the process ends within this time. A thread that waits for Kafka may not notice the signal."""
LOG_LEVEL_VARIABLE: Final = "ORDERSAGA_LOG_LEVEL"
SQLSTATE: Final = "sqlstate"
"""Errors of asyncpg and of psycopg have this attribute. A running service does without psycopg, which takes 9 MiB."""
NO_TABLE: Final = asyncpg.UndefinedTableError.sqlstate
NO_ANSWER: Final = "no answer in time"
DATABASE_PROBLEMS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ValueError,
)
"""Errors of a database call. asyncpg raises ValueError for a URL that it cannot parse."""


class Commands(TyperGroup):
    """The group of all commands. An unexpected error ends a command with exit code 1 and a sentence."""

    def invoke(self, ctx: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(1) from None
        except (TyperException, typer.Abort, typer.Exit, BrokenPipeError, EOFError):
            raise  # the command's own exit, or wrong usage, which Typer reports
        except NotPossible as error:
            raise fail(str(error)) from error
        except Exception as error:
            if os.environ.get(LOG_LEVEL_VARIABLE, "").lower() == "debug":
                print(masked("".join(traceback.format_exception(error))), file=sys.stderr)
            raise fail(sentence(error), 1) from error


def sentence(error: BaseException) -> str:
    """The error in words, and what to do about it."""
    said = _in_one_line(error)
    if getattr(error, SQLSTATE, None) == NO_TABLE:
        return f"{said}; bring the database up to date with `ordersaga migrate`"
    if isinstance(error, asyncpg.InterfaceError) or hasattr(error, SQLSTATE):
        return f"the database refuses: {said}; check ORDERSAGA_..._DATABASE_URL with `ordersaga settings`"
    if isinstance(error, KafkaUnavailable):
        return f"Kafka: {said}; check ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS with `ordersaga settings`"
    if isinstance(error, TimeoutError):
        return f"{said}: the server is frozen, cut off or too busy; `ordersaga settings` shows its address. Try again when it answers"
    if isinstance(error, OSError):
        return f"{said}; check the addresses with `ordersaga settings`, and the files that the command names"
    return f"{type(error).__name__}: {said}. This error is not expected: {LOG_LEVEL_VARIABLE}=debug shows where it happened"


def database_problem(service: str, error: BaseException) -> str:
    """Why a service's database does not answer, and what to do about it."""
    variable = f"ORDERSAGA_{service.upper()}_DATABASE_URL"
    said = _in_one_line(error)
    if getattr(error, SQLSTATE, None) == NO_TABLE:
        return f"the database of {service} lacks ordersaga's tables ({said}); create them with `ordersaga migrate`"
    if isinstance(error, OSError):
        return f"the database of {service} does not answer: {said}; is {variable} right?"
    if isinstance(error, asyncpg.PostgresError):
        return f"the database of {service} refuses: {said}; is {variable} right?"
    return f"the database of {service} cannot be used: {said}; is {variable} right?"


def require_kafka(settings: Settings, code: int = 1) -> None:
    """End the command with the reason if Kafka cannot be reached within seconds."""
    if why := why_unreachable(settings):
        raise fail(
            f"Kafka at {settings.kafka_bootstrap_servers} cannot be used: {why}; "
            "check ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS and the other ORDERSAGA_KAFKA_ settings with `ordersaga settings`",
            code,
        )


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or (NO_ANSWER if isinstance(error, TimeoutError) else type(error).__name__)


def _interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt and silence all logs from then on: asyncio would log each callback and connection that it cuts off."""
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
    timer = threading.Timer(END_WITHIN_S, os._exit, [1])
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt
