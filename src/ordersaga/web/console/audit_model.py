"""What the console reads from the audit's HTTP face. Unknown fields are ignored, so a newer audit can say more."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Struct

from ordersaga.said import Saying
from ordersaga.web.console.topic import KNOWN


class AuditRun(Struct, rename="camel", frozen=True):
    """A run of the audit. `doing`: what it said last, in its own words."""

    id: UUID
    version: str
    state: str
    who: str
    unchanged_for_seconds: float
    services: list[str]
    began_at: datetime
    ended_at: datetime | None
    judged: int
    invariants: int
    outcomes: dict[str, int]
    doing: str = ""
    stopped_by: str | None = None
    failure: str | None = None
    doing_said: tuple[Saying, ...] = ()

    @property
    def goes_on(self) -> bool:
        return self.state in ("RUNNING", "STOPPING")

    @property
    def verdict(self) -> str:
        """The worst result of a run that came to its end: bad, few (something could not be judged), or well."""
        if self.outcomes.get("broken"):
            return "bad"
        return "few" if self.outcomes.get("could not be judged") or self.state != "ENDED" else "well"


class Difference(Struct, rename="camel", frozen=True):
    """Something that breaks an invariant, could not be judged, or is in flight, in the audit's words; and the things that the words name."""

    kind: str
    text: str
    service: str | None = None
    order_id: UUID | None = None
    product_id: UUID | None = None
    letter_id: UUID | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    said: tuple[Saying, ...] = ()

    @property
    def topic_href(self) -> str:
        """The page of the topic, or of its reader where the topic is none of ours."""
        if self.topic not in KNOWN:
            return f"/console/topics?{urlencode({'service': self.service or '', 'topic': self.topic or ''})}"
        place = "" if self.offset is None else f"?partition={self.partition}&offset={self.offset}"
        return f"/console/topics/{self.topic}{place}"


class Invariant(Struct, rename="camel", frozen=True):
    """An invariant with its result and the first of its differences."""

    code: str
    invariant: str
    outcome: str
    count: int
    unit: str
    broken: int
    in_flight: int
    not_judged: int
    notes: list[str] = []
    left_out: str | None = None
    differences: list[Difference] = []
    notes_said: list[tuple[Saying, ...]] = []
    left_out_said: tuple[Saying, ...] = ()

    @property
    def explained(self) -> list[tuple[str, Sequence[Saying]]]:
        """Each note with its sayings, of which an older audit sends none."""
        return list(zip(self.notes, self.notes_said or [()] * len(self.notes), strict=False))

    @property
    def shown(self) -> list[Difference]:
        """Those that need somebody's look: what is in flight does not."""
        return [each for each in self.differences if each.kind != "IN_FLIGHT"]


class AuditRunDetails(Struct, frozen=True):
    """A run and the invariants that it has judged."""

    run: AuditRun
    invariants: list[Invariant]
