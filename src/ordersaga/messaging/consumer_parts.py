"""What one consumer of a process works with: one value, given to the turns, the retries and the other steps of a round."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.consumer_faults import ConsumerFaults
from ordersaga.messaging.database import Pool
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.health import Alarms
from ordersaga.messaging.kafka import PartitionConsumer
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.parking import Parking
from ordersaga.settings import Settings


class ConsumerParts(NamedTuple):
    """`runtime.py` makes the parts for each consumer. `group`: the consumer group of the service. `faults` None: none are allowed."""

    settings: Settings
    group: str
    handler: Handler
    pool: Pool
    consumer: PartitionConsumer
    assignment: Assignment
    parking: Parking
    outbox: Outbox
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    alarms: Alarms
    faults: ConsumerFaults | None
