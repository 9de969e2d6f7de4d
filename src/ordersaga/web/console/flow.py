"""The eleven steps of the guide as a drawing: where the parts stand, and which record or call goes from which to which. Pure."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME, OUR_TOPICS
from ordersaga.web.console.reading import ServiceView, Snapshot, TopicRead


class Box(Struct, frozen=True):
    """A part of the drawing, in the drawing's own units."""

    x: int
    y: int
    width: int
    height: int


BOXES: Final = {
    "client": Box(0, 0, 130, 500),
    "order": Box(420, 0, 170, 300),
    "stock": Box(880, 0, 150, 130),
    "delivery": Box(880, 170, 150, 130),
    "payment": Box(420, 400, 170, 100),
    "gateway": Box(880, 400, 150, 100),
}
WIDTH: Final = 1030
HEIGHT: Final = 500
LAG_BAD: Final = 100
"""So many records behind are shown as a trouble."""


class Step(Struct, frozen=True):
    """One arrow. `topic` None: a call over HTTP, of which nothing is counted here. `at`: its height, or its x where it is vertical."""

    number: int
    source: str
    target: str
    at: int
    topic: str | None = None
    vertical: bool = False


STEPS: Final = (
    Step(1, "client", "order", 50),
    Step(2, "order", "stock", 40, "order-created"),
    Step(3, "stock", "order", 105, "stock-response-topic"),
    Step(4, "order", "client", 140),
    Step(5, "client", "payment", 450),
    Step(6, "payment", "gateway", 430),
    Step(7, "gateway", "payment", 480),
    Step(8, "payment", "order", 505, "payment-success-topic", vertical=True),
    Step(9, "order", "delivery", 210, "delivery-request-topic"),
    Step(10, "delivery", "order", 275, "delivery-start-topic"),
    Step(11, "order", "client", 250, "order-completed-topic"),
)


class Arrow(Struct, frozen=True):
    """An arrow as it is drawn. `state`: call, calm, busy, behind, stopped, paused, unknown, or foreign. `x`, `y`: where its text begins."""

    number: int
    source: str
    target: str
    topic: str | None
    state: str
    read: TopicRead | None
    path: str
    x: int
    y: int
    badge_x: int
    badge_y: int


def arrows(snapshot: Snapshot) -> list[Arrow]:
    """All eleven, with what is known of each topic's reader."""
    return [_arrow(step, *_known(snapshot, step.topic)) for step in STEPS]


def beside(snapshot: Snapshot) -> list[tuple[str, str, TopicRead | None, str]]:
    """The topics beside the eleven steps (compensation, and state that another service copies): name, reader, what is known, state."""
    return [(topic.name, str(topic.consumer), *_known(snapshot, topic.name)) for topic in OUR_TOPICS]


def _known(snapshot: Snapshot, topic: str | None) -> tuple[TopicRead | None, str]:
    if topic is None:
        return None, "call"
    reader = snapshot.services.get(str(BY_NAME[topic].consumer))
    if reader is None:
        return None, "client"  # read by browsers' web process, without a position
    read = (reader.topics or {}).get(topic)
    return read, _state(reader, read)


def _state(reader: ServiceView, read: TopicRead | None) -> str:
    if reader.foreign:
        return "foreign"
    if read is None or read.lag is None:
        return "unknown"
    if read.states["STOPPED"] or read.states["NOT_ASSIGNED"]:
        return "stopped"
    if read.states["PAUSED"]:
        return "paused"
    if read.lag >= LAG_BAD:
        return "behind"
    return "busy" if read.rate else "calm"


def _arrow(step: Step, read: TopicRead | None, state: str) -> Arrow:
    source, target = BOXES[step.source], BOXES[step.target]
    if step.vertical:
        x, begin, end = step.at, source.y, target.y + target.height
        path = f"M{x} {begin}V{end + 7}"
        return Arrow(step.number, step.source, step.target, step.topic, state, read, path, x + 22, 345, x, begin - 22)
    goes_right = source.x < target.x
    begin = source.x + source.width if goes_right else source.x
    end = target.x if goes_right else target.x + target.width
    path = f"M{begin} {step.at}H{end - 7 if goes_right else end + 7}"
    badge_x = begin + 20 if goes_right else begin - 20
    text_x = min(begin, end) + (40 if goes_right else 16)
    return Arrow(
        step.number, step.source, step.target, step.topic, state, read, path, text_x, step.at, badge_x, step.at
    )


def told(snapshot: Snapshot) -> Iterator[tuple[str, Box, str]]:
    """Each part of the drawing with its box and its state: that of the service, or of the gateway as Payment sees it."""
    for name, box in BOXES.items():
        if name == "client":
            yield name, box, "up"
        elif name == "gateway":
            yield name, box, gateway_state(snapshot)
        else:
            yield name, box, snapshot.services[name].state


def gateway_state(snapshot: Snapshot) -> str:
    """up, degraded while Payment sends the gateway no calls, or unknown."""
    payment = snapshot.services["payment"]
    if payment.foreign or payment.health is None:
        return "unknown"
    return "degraded" if any(each.alarm == "gateway" for each in payment.health.alarms) else "up"
