"""The shop on DBOS: a workflow for each order, a transaction of the data source for each step, in one process behind FastAPI."""

import asyncio
import os
from typing import Any

import rows
import uvicorn
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig, SetWorkflowID, WorkflowHandleAsync
from fastapi import FastAPI

PAYMENT = "payment"
PAYMENT_LIMIT_S = 3_600


async def serve(url: str, port: int, pool: int) -> None:
    """Serve until the process is ended."""
    config: DBOSConfig = {"name": "shop", "system_database_url": url, "log_level": "WARNING", "sys_db_pool_size": pool}
    DBOS(config=config)
    database = await AsyncSQLAlchemyDatasource.create(url, {"pool_size": pool})
    app = FastAPI()
    handles: dict[str, WorkflowHandleAsync[str]] = {}

    @database.transaction(isolation_level="READ COMMITTED")
    async def place(order_id: str, body: dict[str, Any]) -> None:
        await rows.place(database.sql_session(), order_id, body)

    @database.transaction(isolation_level="READ COMMITTED")
    async def reserve(order_id: str, body: dict[str, Any]) -> None:
        await rows.reserve(database.sql_session(), order_id, body)

    @database.transaction(isolation_level="READ COMMITTED")
    async def deliver(order_id: str, paid: dict[str, Any]) -> None:
        await rows.deliver(database.sql_session(), order_id, paid)

    @database.transaction(isolation_level="READ COMMITTED")
    async def complete(order_id: str) -> None:
        await rows.complete(database.sql_session(), order_id)

    @DBOS.workflow()
    async def checkout(order_id: str, body: dict[str, Any]) -> str:
        await place(order_id, body)
        await reserve(order_id, body)
        await deliver(order_id, await DBOS.recv_async(PAYMENT, PAYMENT_LIMIT_S))
        await complete(order_id)
        return order_id

    @app.post("/orders/{order_id}", status_code=202)
    async def order(order_id: str, body: dict[str, Any]) -> dict[str, str]:
        with SetWorkflowID(order_id):
            handles[order_id] = await DBOS.start_workflow_async(checkout, order_id, body)
        return {"orderId": order_id}

    @app.post("/orders/{order_id}/payment", status_code=202)
    async def pay(order_id: str, body: dict[str, Any]) -> None:
        await DBOS.send_async(order_id, body, PAYMENT, idempotency_key=order_id)

    @app.get("/orders/{order_id}/completed")
    async def completed(order_id: str) -> str:
        return await handles.pop(order_id).get_result()

    DBOS.launch()
    await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False)).serve()


asyncio.run(serve(os.environ["SHOP_DATABASE_URL"], int(os.environ["SHOP_PORT"]), int(os.environ["SHOP_POOL"])))
