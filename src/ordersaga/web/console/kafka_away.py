"""Whether Kafka answers nobody, and since when: the services raise their alarm only after some seconds of silence."""

from collections.abc import Iterable
from datetime import datetime

from ordersaga.messaging.stalls import AWAY
from ordersaga.web.console.snapshot import ServiceView


class KafkaAway:
    """Remembers since when this process has found no answer of Kafka."""

    def __init__(self) -> None:
        self._found_at: datetime | None = None

    def since(self, answers: bool, views: Iterable[ServiceView], now: datetime) -> datetime | None:
        """Since when Kafka has answered neither this process (`answers`) nor a service; None: it answers one of them.

        One look of one process that is slow is no silence. A service whose alarm is older than our first look knows it better.
        """
        several = list(views)
        if answers or any(read.written is not None for view in several for read in (view.topics or {}).values()):
            self._found_at = None
            return None
        self._found_at = self._found_at or now
        told = [
            each.since for view in several for each in (view.health.alarms if view.health else ()) if each.alarm == AWAY
        ]
        return min([self._found_at, *told])
