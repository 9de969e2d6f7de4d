"""The shop on Restate: a workflow for each order, a durable step for each transaction, in one process behind Hypercorn."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import hypercorn
import hypercorn.asyncio
import restate
import rows
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

engine = create_async_engine(os.environ["SHOP_DATABASE_URL"], pool_size=int(os.environ["SHOP_POOL"]))
sessions = async_sessionmaker(engine)
checkout = restate.Workflow("orders")
ONCE = restate.RunOptions[None]()


async def transaction(work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """One step's transaction."""
    session: AsyncSession
    async with sessions.begin() as session:
        await work(session, *arguments)


@checkout.main()
async def place(ctx: restate.WorkflowContext, body: dict[str, Any]) -> str:
    order_id = ctx.key()
    await ctx.run_typed("place", transaction, ONCE, rows.place, order_id, body)
    await ctx.run_typed("reserve", transaction, ONCE, rows.reserve, order_id, body)
    paid = await ctx.promise("payment").value()
    await ctx.run_typed("deliver", transaction, ONCE, rows.deliver, order_id, paid)
    await ctx.run_typed("complete", transaction, ONCE, rows.complete, order_id)
    return order_id


@checkout.handler()
async def pay(ctx: restate.WorkflowSharedContext, body: dict[str, Any]) -> None:
    await ctx.promise("payment").resolve(body)


config = hypercorn.Config()
config.bind = [f"127.0.0.1:{os.environ['SHOP_PORT']}"]
config.keep_alive_max_requests = 2**31
config.loglevel = "WARNING"
asyncio.run(hypercorn.asyncio.serve(restate.app(services=[checkout]), config))
