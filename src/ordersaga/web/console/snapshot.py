"""What the console has found of all services at a moment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.operations.parked_resources import QueueResource
from ordersaga.operations.resources import CausesResource
from ordersaga.settings import ServiceName
from ordersaga.web.console.gateway import Answers
from ordersaga.web.console.model import HealthStatus, OrderStates, Outbox


class TopicRead(Struct, frozen=True):
    """A topic as its reader stands: `lag` records behind (None: not known), `rate` records handled a second (None: not known yet).

    `written`: how many records the topic has had. Of a reader that is not ours only Kafka tells: `rate` is how many come a second.
    """

    topic: str
    lag: int | None
    rate: float | None
    states: Counter[str]
    written: int | None = None


class CallRead(Struct, frozen=True):
    """Calls of one name over HTTP: how many there were, a second (None: not known yet), and how many have no answer yet."""

    total: int
    rate: float | None
    in_hand: int


class ServiceView(Struct, frozen=True):
    """One service as the overview shows it. A part that did not come is None. `foreign`: another team runs it. `moments`: the last minute.

    `gateway`: how the payment gateway has answered Payment.
    """

    name: ServiceName
    foreign: bool = False
    health: HealthStatus | None = None
    topics: dict[str, TopicRead] | None = None
    outbox: Outbox | None = None
    causes: CausesResource | None = None
    parked: list[QueueResource] | None = None
    calls: dict[str, CallRead] | None = None
    moments: Sequence[FlowMoment] = ()
    gateway: Answers | None = None

    @property
    def state(self) -> str:
        """foreign, down, degraded or up."""
        if self.foreign:
            return "foreign"
        if self.health is None:
            return "down"
        return self.health.status.lower()


class Snapshot(Struct, frozen=True):
    """All services at a moment. `orders` None: Order does not answer or is another team's. `audit`: what its last run says, where there is one.

    `unread`: what Kafka tells of topics that no service reads; empty: it does not answer. `kafka_away_since`: since when it answers nobody.
    """

    at: datetime
    services: dict[str, ServiceView]
    orders: OrderStates | None
    audit: HealthStatus | None = None
    unread: Mapping[str, TopicRead] = {}
    kafka_away_since: datetime | None = None
