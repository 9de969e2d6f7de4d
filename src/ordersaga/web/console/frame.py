"""What all routes of the console share: the page's frame with the user in it, ages and names as people read them, and refusals as notices."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.acts import STALE
from ordersaga.messaging.kafka import Tail
from ordersaga.settings import SERVICES, ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.ages import ago, duration, gap, time_left
from ordersaga.web.console.audience import Audience
from ordersaga.web.console.load import Load
from ordersaga.web.console.reading import Reading
from ordersaga.web.console.sayings import cause_name, named, reason_name, state_name, told, wrong_words
from ordersaga.web.console.staff import NAMES, Staff, may_act
from ordersaga.web.desk import Desk, Page, nothing
from ordersaga.web.notices import Told, refused_as
from ordersaga.web.services import ProblemAnswer, Refused
from ordersaga.web.visit import Visit

REASON_CHARS_MAX: Final = 500


class Console:
    """Reads and answers for the routes of the console."""

    def __init__(self, desk: Desk, reading: Reading, load: Load, audience: Audience) -> None:
        self.desk: Final = desk
        self.reading: Final = reading
        self.load: Final = load
        self.staff: Final = Staff(desk, audience)
        self.tail: Final = Tail(desk.settings)

    def page(self, visit: Visit, user: User, template: str, values: Mapping[str, Any], status: int = 200) -> Page:
        """Answer with a page of the console."""
        return self.desk.page(visit, f"console/{template}", self._shared(visit, user) | dict(values), status)

    def part(self, visit: Visit, user: User, template: str, values: Mapping[str, Any]) -> Page:
        """Answer with a part of a page, for its refreshing."""
        return self.desk.fragment(visit, f"console/{template}", self._shared(visit, user) | dict(values))

    def _shared(self, visit: Visit, user: User) -> dict[str, Any]:
        return {
            "user": user,
            "may_act": may_act(user),
            "ours": self.reading.ours,
            "topic_names": [topic.name for topic in TOPICS],
            "faults_page": self.desk.settings.web_sign_in == "demo",
            "ago": lambda at: ago(visit, at),
            "who": lambda name: visit.t(f"console.staff.{NAMES[name]}") if name in NAMES else name,
            "act_name": lambda what: visit.t(f"console.acts.{what}") if visit.has(f"console.acts.{what}") else what,
            "told": lambda text, sayings=(): told(visit, text, sayings),
            "cause_name": lambda cause: cause_name(visit, cause),
            "reason_name": lambda reason: reason_name(visit, reason),
            "state_name": lambda what, state: state_name(visit, what, state),
            "named": lambda words: named(visit, words),
            "seconds": lambda s: duration(visit, s),
            "time_left": lambda s: time_left(visit, s),
            "gap": lambda between: gap(visit, between.total_seconds()),
            "reason_chars_max": REASON_CHARS_MAX,
            "is_id": is_id,
        }

    def service(self, name: str) -> ServiceName:
        """A service of ours by its name in a path or form. Raises `Nothing`."""
        return next((each for each in SERVICES if each == name and each in self.reading.ours), None) or nothing()


def is_id(text: str) -> bool:
    """Whether the text is a UUID, as the ids of orders and letters are."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def notice_of(refused: Refused, not_now: str = "console.refused") -> Told:
    """The notice for a refused act: the thing has changed since it was shown, its state does not allow the act (`not_now`), it is gone, or the
    form says something that the service does not accept. Other refusals are raised again."""
    problem = refused.problem
    if refused.status == 409:
        return Told("console.stale") if problem.title == STALE else refused_as(not_now, problem.detail, problem.said)
    if refused.status == 404:
        return Told("console.gone")
    if refused.status == 400:
        why = "; ".join(f"{each.field}: {each.message}" for each in problem.errors) or problem.detail
        return refused_as("console.wrong", why, problem.said)
    raise refused


def wrong_fields(visit: Visit, problem: ProblemAnswer) -> dict[str, str]:
    """What a service says of each field that does not fit."""
    return {each.field: wrong_words(visit, each) for each in problem.errors} or {
        "": told(visit, problem.detail or problem.title, problem.said)
    }
