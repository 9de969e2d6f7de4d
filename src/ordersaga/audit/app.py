"""The audit as one process: its HTTP face over the four databases, which it only reads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar

from ordersaga.audit.api import routes
from ordersaga.audit.auditor import Auditor
from ordersaga.audit.kept import Kept
from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.runtime import utc_now
from ordersaga.settings import Settings


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It starts without databases and without Kafka; a run says what is missing. Raises `CannotStart`."""
    auditor = Auditor(settings, Kept(settings.audit_runs_path, settings.audit_runs_kept), utc_now, new_id)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(auditor.close)

    callers = Callers(settings, is_service=True)
    return application("audit", [routes(auditor, callers)], auditor, running, callers=callers)
