"""The audit of a running system over its HTTP face, for a command: the same findings as `verify`, with the rights of the caller."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import aiohttp

from ordersaga.audit.finding import Finding
from ordersaga.audit.resources import (
    AuditResource,
    DifferenceResource,
    InvariantResource,
    Kind,
    RunDetails,
    RunResource,
)
from ordersaga.messaging.acts import NotPossible
from ordersaga.operations.ports import Refused
from ordersaga.operations.remote import CALL_S, Service
from ordersaga.settings import ServiceName

POLL_EVERY_S: Final = 0.5
STOP_WITHIN_S: Final = 1.0


async def verify_via_http(
    url: str,
    headers: Mapping[str, str],
    unchanged_for_s: float,
    only: Sequence[ServiceName] | None,
    say: Callable[[str], None],
) -> list[Finding]:
    """Run the audit at this address and wait for its end. When this is cancelled, the run is stopped.

    Raises `NotPossible` while another run goes on, `Refused`, also for a run that does not come to its end, and aiohttp's errors.
    """
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=CALL_S)) as http:
        face = Service(http, url)
        about = await face.read("", AuditResource)
        if about.service != "audit":
            raise Refused(f"{url} is the service {about.service}, and no audit")
        body = {"unchangedForSeconds": unchanged_for_s} | ({} if only is None else {"services": list(only)})
        run = await face.act("audits", RunResource, body)
        try:
            details = await _ended(face, run.id, say)
        except asyncio.CancelledError:
            with contextlib.suppress(NotPossible, Refused, aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await face.act(f"audits/{run.id}/stop", RunResource, {"version": "RUNNING"})
            raise
        if details.run.state != "ENDED":
            raise Refused(f"the run is {details.run.state}: {details.run.failure or f'by {details.run.stopped_by}'}")
        return [await _finding(face, run.id, each) for each in details.invariants]


async def _ended(face: Service, run_id: UUID, say: Callable[[str], None]) -> RunDetails:
    said = ""
    while True:
        details: RunDetails = await face.read(f"audits/{run_id}", RunDetails)
        if details.run.ended_at is not None:
            return details
        told = f"{details.run.judged} of {details.run.invariants} invariants judged, {details.run.doing}".rstrip(", ")
        if told != said:
            say(told)
            said = told
        await asyncio.sleep(POLL_EVERY_S)


async def _finding(face: Service, run_id: UUID, shown: InvariantResource) -> Finding:
    async def texts(kind: Kind, count: int) -> list[str]:
        first = [each.text for each in shown.differences if each.kind == kind]
        if len(first) >= count:
            return first
        path = f"audits/{run_id}/{shown.code}?kind={kind}"
        return [each.text for each in await face.pages(path, DifferenceResource)]

    return Finding(
        shown.invariant,
        shown.code,
        count=shown.count,
        unit=shown.unit,
        broken=await texts("BROKEN", shown.broken),
        in_flight=await texts("IN_FLIGHT", shown.in_flight),
        unjudged=await texts("NOT_JUDGED", shown.not_judged),
        broken_count=shown.broken,
        in_flight_count=shown.in_flight,
        unjudged_count=shown.not_judged,
        notes=shown.notes,
        left_out=shown.left_out,
    )
