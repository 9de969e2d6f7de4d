"""Reads of the services' operators' faces, in an operator's name. A service that does not answer is None, never an error of the page."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, TypeVar
from uuid import UUID

from msgspec.structs import replace

from ordersaga.contracts.topics import BY_NAME, TOPICS
from ordersaga.http.pages import LIMIT_MAX, Page
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Topics
from ordersaga.operations.flow_resources import FlowMoment, FlowResource
from ordersaga.operations.parked_resources import QueueResource
from ordersaga.operations.resources import ActResource, CallsResource, CausesResource, DeadLetterResource
from ordersaga.settings import SERVICES, ServiceName, Settings
from ordersaga.web.accounts import User
from ordersaga.web.console.gateway import ASKED, Answers, answers
from ordersaga.web.console.kafka_away import KafkaAway
from ordersaga.web.console.model import Anything, HealthStatus, OrderStates, Outbox, PartitionState
from ordersaga.web.console.product_names import ProductNames
from ordersaga.web.console.rates import called, handled, rate_of, written
from ordersaga.web.console.snapshot import CallRead, ServiceView, Snapshot, TopicRead
from ordersaga.web.services import Backend, Refused, Services, SignInEnded, Unavailable, side_by_side, unless_away

T = TypeVar("T")
FACE: Final = "/api/v1/operations"
FRESH_S: Final = 1.5
RATE_SECONDS: Final = "60"
KAFKA_S: Final = 1.5
"""So long Kafka is waited for."""
UNREAD: Final = tuple(topic.name for topic in TOPICS if topic.consumer not in SERVICES)


class Reading:
    """Use from routes. Raises `Unavailable` and `Refused` only where it says so."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self.services: Final = services
        self.ours: Final = [name for name in SERVICES if name not in settings.foreign_partners]
        self.has_audit: Final = settings.audit_url is not None
        self._settings: Final = settings
        self._kafka_away: Final = KafkaAway()
        self.product_names: Final = ProductNames(services, "stock" in self.ours)
        self._recent: Final[dict[tuple[str, ...], tuple[float, asyncio.Future[Snapshot]]]] = {}

    @cached_property
    def _kafka(self) -> Topics:
        return Topics(self._settings)

    async def snapshot(self, user: User) -> Snapshot:
        """All services now. Pages of the same roles that ask at nearly the same time share one reading."""
        at_s, recent = self._recent.get(user.roles, (0.0, None))
        if recent is None or time.monotonic() - at_s > FRESH_S:
            recent = asyncio.ensure_future(self._read(user))
            self._recent[user.roles] = time.monotonic(), recent
            return await asyncio.shield(recent)
        try:
            return await asyncio.shield(recent)
        except (Refused, SignInEnded):  # it was read with another user's token, which may have run out
            return await self._read(user)

    async def _read(self, user: User) -> Snapshot:
        views, orders, audit, unread = await side_by_side(
            side_by_side(*(self._view(name, user) for name in SERVICES)),
            self.order_states(user),
            self._audit(),
            self._written(UNREAD),
        )
        now = datetime.now(UTC)
        away_since = self._kafka_away.since(unread is not None, views, now)
        return Snapshot(
            now,
            {view.name: replace(view, topics=_rated(view.topics, views)) if view.foreign else view for view in views},
            orders,
            audit,
            _rated(unread, views) or {},
            away_since,
        )

    async def _audit(self) -> HealthStatus | None:
        if not self.has_audit:
            return None
        return await unless_away(self.services.get("audit", "/health/status", HealthStatus))

    async def _view(self, name: ServiceName, user: User) -> ServiceView:
        if name not in self.ours:
            read = [topic.name for topic in TOPICS if name in topic.consumers]
            return ServiceView(name, foreign=True, topics=await self._written(read))
        health, partitions, outbox, causes, parked, calls, moments, lately = await side_by_side(
            unless_away(self.services.get(name, "/health/status", HealthStatus)),
            unless_away(self.partitions(name, user)),
            self.part(name, "/outbox", Outbox, user),
            self.part(name, "/dead-letters/causes", CausesResource, user),
            self.page(name, "/parked", QueueResource, user),
            self.part(name, "/calls", CallsResource, user),
            self.flow(name, user),
            self._gateway(name, user),
        )
        topics = None if partitions is None else _topics(partitions, moments)
        counted = None if calls is None else _calls(calls, moments)
        return ServiceView(
            name, False, health, topics, outbox, causes, parked and parked.items, counted, moments, lately
        )

    async def _gateway(self, name: ServiceName, user: User) -> Answers | None:
        """How the gateway has answered lately, as Payment tells."""
        return answers(await self.flow(name, user, ASKED)) if name == "payment" else None

    async def flow(self, name: ServiceName, user: User, query: Mapping[str, str] | None = None) -> list[FlowMoment]:
        """The moments of the last minute, or those of the query; none, if the service does not answer."""
        found = await self.part(name, "/flow", FlowResource, user, {"seconds": RATE_SECONDS} | dict(query or {}))
        return found.moments if found else []

    async def _written(self, names: Sequence[str]) -> dict[str, TopicRead] | None:
        """What Kafka tells of the topics that somebody else reads than a service of ours; None: Kafka does not answer."""
        try:
            async with asyncio.timeout(KAFKA_S):
                counts = await self._kafka.partition_counts(names)
                ends = await self._kafka.ends(
                    [Partition(topic, number) for topic, count in counts.items() for number in range(count)]
                )
        except (KafkaUnavailable, TimeoutError):
            return None
        written = dict.fromkeys(counts, 0)
        for partition, end in ends.items():
            written[partition.topic] += end
        return {topic: TopicRead(topic, None, None, Counter(), count) for topic, count in written.items()}

    async def check(self, user: User) -> None:
        """Have whichever service answers first check the token of a user who is shown what this process reads by itself. Raises `Unavailable` and `Refused`."""
        if not user.token:
            return
        asked = [
            asyncio.ensure_future(unless_away(self.services.get(name, f"{FACE}/", Anything, user)))
            for name in self.ours
        ]
        try:
            for first in asyncio.as_completed(asked):
                if await first is not None:
                    return
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise Unavailable(self.ours[0])

    async def partitions(self, service: ServiceName, user: User, topic: str = "") -> list[PartitionState]:
        """Every partition that the service reads, or those of one topic. Raises `Unavailable`."""
        found: list[PartitionState] = []
        query = {"limit": str(LIMIT_MAX)} | ({"topic": topic} if topic else {})
        while True:
            page = await self.services.get(service, f"{FACE}/partitions", Page[PartitionState], user, query)
            found += page.items if page else []
            if page is None or page.next is None:
                return found
            query["cursor"] = page.next

    async def part(
        self, service: Backend, path: str, kind: type[T], user: User, query: dict[str, str] | None = None
    ) -> T | None:
        """A resource below the operators' face; None if the service does not answer, or has no such thing."""
        return await unless_away(self.services.get(service, FACE + path, kind, user, query))

    async def page(
        self, service: Backend, path: str, item: type[T], user: User, query: dict[str, str] | None = None
    ) -> Page[T] | None:
        """A page of a list; None if the service does not answer, or refuses these conditions."""
        kind: Any = Page[item]  # type: ignore[valid-type]
        asked = {"limit": str(LIMIT_MAX)} | {name: value for name, value in (query or {}).items() if value}
        try:
            found: Page[T] | None = await self.part(service, path, kind, user, asked)
        except Refused as refused:
            if refused.status != 400:
                raise
            return Page([], None)
        return found

    async def order_states(self, user: User) -> OrderStates | None:
        """How many orders have each status; None if Order does not answer or is another team's."""
        if "order" not in self.ours:
            return None
        return await unless_away(self.services.get("order", "/api/v1/orders/states", OrderStates, user))

    async def letters(self, service: ServiceName, user: User, query: dict[str, str]) -> Page[DeadLetterResource] | None:
        """Dead letters of one service, the latest first."""
        return await self.page(service, "/dead-letters", DeadLetterResource, user, query)

    async def acts(self, service: ServiceName, user: User, query: dict[str, str]) -> Page[ActResource] | None:
        """The trail of one service, the latest first."""
        return await self.page(service, "/acts", ActResource, user, query)

    async def of_order(
        self, order_id: UUID, user: User
    ) -> dict[str, tuple[list[QueueResource], list[DeadLetterResource]] | None]:
        """The parked records and dead letters of one order, by service; None: the service does not answer."""
        query = {"orderId": str(order_id)}

        async def both(name: ServiceName) -> tuple[list[QueueResource], list[DeadLetterResource]] | None:
            parked, letters = await side_by_side(
                self.page(name, "/parked", QueueResource, user, query),
                self.letters(name, user, query | {"status": "ANY"}),
            )
            return None if parked is None or letters is None else (parked.items, letters.items)

        found = await side_by_side(*(both(name) for name in self.ours))
        return dict(zip(self.ours, found, strict=True))


def _calls(found: CallsResource, moments: Sequence[FlowMoment]) -> dict[str, CallRead]:
    return {each.name: CallRead(each.total, rate_of(moments, called(each.name)), each.in_hand) for each in found.calls}


def _topics(partitions: Sequence[PartitionState], moments: Sequence[FlowMoment]) -> dict[str, TopicRead]:
    by_topic: dict[str, list[PartitionState]] = {}
    for each in partitions:
        by_topic.setdefault(each.topic, []).append(each)
    return {
        topic: TopicRead(
            topic,
            None if any(each.lag is None for each in several) else sum(each.lag or 0 for each in several),
            rate_of(moments, handled(topic)),
            Counter(each.state for each in several),
            None if any(each.end is None for each in several) else sum(each.end or 0 for each in several),
        )
        for topic, several in by_topic.items()
    }


def _rated(found: dict[str, TopicRead] | None, views: Sequence[ServiceView]) -> dict[str, TopicRead] | None:
    """Topics that no service of ours reads, with how many records a second came, as their writer tells."""
    writers: dict[str | None, Sequence[FlowMoment]] = {view.name: view.moments for view in views}
    return found and {
        name: replace(read, rate=rate_of(writers.get(BY_NAME[name].producer, []), written(name)))
        for name, read in found.items()
    }
