"""A process that freezes in the middle of its first transaction: `python -m tests.contract.freezing`, settings from the environment.

It stops itself (SIGSTOP) after it has changed the database and before it commits; whoever wakes it up sees it go on as if nothing was.
"""

import asyncio
import os
import signal

from ordersaga.contracts.messages import DeliveryStartMessage
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Outgoing, consumes
from ordersaga.messaging.runtime import Runtime
from ordersaga.settings import Settings
from tests.contract.rig import save


async def main() -> None:
    frozen = False

    async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
        nonlocal frozen
        outgoing = await save(batch, db)
        if not frozen:
            frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return outgoing

    async with Runtime(Settings(), "delivery", consumes(DeliveryStartMessage)(handle)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
