"""Payment's own routes in the operators' HTTP face: what the gateway has not settled, a try of it now, and the gateway's sandbox."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyNumber, Limit, Page
from ordersaga.http.requests import json_body
from ordersaga.operations.face import ActBody, AnyRequest, Face
from ordersaga.payment import sandbox_face
from ordersaga.payment.operators import OpenIntent, OpenIntents

_act: Final = msgspec.json.Decoder(ActBody)
_cursors: Final[Cursors[int]] = Cursors("open intents of an order", KeyNumber)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes."""

    def intents() -> OpenIntents:
        return OpenIntents(face.runtime.pool, face.runtime.clock)

    @get(
        "/intents",
        operation_id="listIntents",
        summary="An order's confirms and refunds that the gateway has not settled",
    )
    async def find(
        request: AnyRequest,
        order_id: Annotated[UUID, QueryParameter(name="orderId", description="Of the payments of this order.")],
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[OpenIntent]:
        await face.reader(request)
        begins = _cursors.key(cursor) or 0
        found = await intents().of_order(order_id)
        shown, following = _cursors.cut(found[begins : begins + limit + 1], limit, lambda _: begins + limit)
        return Page(list(shown), following)

    @post(
        "/intents/{intent_id:uuid}/retry",
        status_code=200,
        operation_id="retryIntent",
        operation_class=json_body(ActBody),
        summary="Call the gateway for a confirm or refund now instead of at its due time",
    )
    async def retry(request: AnyRequest, intent_id: FromPath[UUID]) -> OpenIntent:
        operator, body = await face.act(request, _act)
        return await intents().retry(intent_id, operator, body.version)

    return [find, retry, *sandbox_face.routes(face)]
