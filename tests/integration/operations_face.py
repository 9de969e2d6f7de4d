"""What tests of the operators' HTTP face share: callers of each role, and requests that must end with a status."""

from typing import Any
from uuid import UUID

from tests.integration.operator_rig import OperatorRig

FACE = "/api/v1/operations"


def caller(role: str) -> dict[str, str]:
    return {"User-Id": str(UUID(int=7)), "User-Roles": role}


READER, OPERATING = caller("READER"), caller("OPERATOR")
WHO = OPERATING["User-Id"]


async def show(rig: OperatorRig, path: str, headers: dict[str, str] = READER, code: int = 200, **query: Any) -> Any:
    """What a read answers."""
    answer = await rig.http.get(f"{FACE}/{path}", headers=headers, params=query)
    assert answer.status_code == code, answer.text
    return answer.json()


async def act(
    rig: OperatorRig, path: str, body: dict[str, Any], code: int = 200, headers: dict[str, str] = OPERATING
) -> Any:
    """What an act answers."""
    answer = await rig.http.post(f"{FACE}/{path}", headers=headers, json=body)
    assert answer.status_code == code, answer.text
    return answer.json()


async def pages(rig: OperatorRig, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page; no page has more than its limit."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await show(rig, path, **query, **cursor)
        assert len(page["items"]) <= query["limit"]
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}
