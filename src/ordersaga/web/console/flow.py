"""The eleven steps of the guide as a drawing: where the parts stand, and which record or call goes from which to which. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.topics import BY_NAME, OUR_TOPICS
from ordersaga.settings import ServiceName
from ordersaga.web.console.snapshot import CallRead, ServiceView, Snapshot, TopicRead


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
    """One arrow. `topic` None: a call over HTTP, which `counted_by` counts by the name `call`, and its other outcomes by the names `others`.

    `at`: its height, or its x where it is vertical.
    """

    number: int
    source: str
    target: str
    at: int
    topic: str | None = None
    vertical: bool = False
    counted_by: ServiceName | None = None
    call: str = ""
    others: tuple[str, ...] = ()


STEPS: Final = (
    Step(1, "client", "order", 50, counted_by="order", call="place-order"),
    Step(2, "order", "stock", 40, "order-created"),
    Step(3, "stock", "order", 105, "stock-response-topic"),
    Step(
        4,
        "order",
        "client",
        140,
        counted_by="order",
        call="place-order-answered",
        others=("place-order-answered-early",),
    ),
    Step(5, "client", "payment", 450, counted_by="payment", call="confirm-payment"),
    Step(6, "payment", "gateway", 417, counted_by="payment", call="gateway-confirm"),
    Step(
        7,
        "gateway",
        "payment",
        463,
        counted_by="payment",
        call="gateway-approved",
        others=("gateway-declined", "gateway-unclear"),
    ),
    Step(8, "payment", "order", 505, "payment-success-topic", vertical=True),
    Step(9, "order", "delivery", 210, "delivery-request-topic"),
    Step(10, "delivery", "order", 275, "delivery-start-topic"),
    Step(11, "order", "client", 250, "order-completed-topic"),
)


class Known(Struct, frozen=True):
    """What is known of a step. `state`: call, client, calm, busy, behind, stopped, paused, unknown, or foreign.

    `read`: how the topic's reader stands. `calls`: the calls over HTTP; `others`: how many had each other outcome.
    """

    state: str
    read: TopicRead | None = None
    calls: CallRead | None = None
    others: Mapping[str, int] = {}


class Arrow(Struct, frozen=True):
    """An arrow as it is drawn. `x`, `y`: where its text begins."""

    number: int
    source: str
    target: str
    topic: str | None
    known: Known
    path: str
    x: int
    y: int
    badge_x: int
    badge_y: int


def arrows(snapshot: Snapshot) -> list[Arrow]:
    """All eleven, with what is known of each topic's reader or of each call."""
    return [
        _arrow(step, _called(snapshot, step) if step.topic is None else _known(snapshot, step.topic)) for step in STEPS
    ]


def beside(snapshot: Snapshot) -> list[tuple[str, str, Known]]:
    """The topics beside the eleven steps (compensation, and state that another service copies): name, reader, what is known."""
    return [(topic.name, str(topic.consumer), _known(snapshot, topic.name)) for topic in OUR_TOPICS]


def _called(snapshot: Snapshot, step: Step) -> Known:
    """A step over HTTP, by the counts of the service that answers or makes the calls. Of another team's service nothing is known."""
    view = None if step.counted_by is None else snapshot.services[step.counted_by]
    if view is None or view.foreign:
        return Known("call")
    if view.calls is None:
        return Known("unknown")
    found = view.calls.get(step.call) or CallRead(0, None, 0)
    others = {name: view.calls[name].total for name in step.others if name in view.calls}
    return Known(_pace("call", found.in_hand, found.rate), None, found, others)


def _known(snapshot: Snapshot, topic: str) -> Known:
    reader = snapshot.services.get(str(BY_NAME[topic].consumer))
    if reader is None:
        return _unread(snapshot, topic)
    read = (reader.topics or {}).get(topic)
    return Known(_state(reader, read), read)


def _unread(snapshot: Snapshot, topic: str) -> Known:
    """A topic that every web process reads for its browsers, without a position: behind is what its writer has not published yet."""
    read = snapshot.unread.get(topic)
    writer = snapshot.services[str(BY_NAME[topic].producer)]
    if read is None or writer.outbox is None:
        return Known("client", read)
    waiting = writer.outbox.of(topic)
    return Known(_pace("client", waiting, read.rate), replace(read, lag=waiting))


def _state(reader: ServiceView, read: TopicRead | None) -> str:
    if reader.foreign:
        return "foreign"
    if read is None or read.lag is None:
        return "unknown"
    if read.states["STOPPED"] or read.states["NOT_ASSIGNED"]:
        return "stopped"
    if read.states["PAUSED"]:
        return "paused"
    return _pace("calm", read.lag, read.rate)


def _pace(quiet: str, waiting: int, rate: float | None) -> str:
    """The state of a step that nothing stops."""
    return "behind" if waiting >= LAG_BAD else "busy" if rate else quiet


def _arrow(step: Step, known: Known) -> Arrow:
    source, target = BOXES[step.source], BOXES[step.target]
    if step.vertical:
        x, begin, end = step.at, source.y, target.y + target.height
        path = f"M{x} {begin}V{end + 7}"
        return Arrow(step.number, step.source, step.target, step.topic, known, path, x + 22, 345, x, begin - 22)
    goes_right = source.x < target.x
    begin = source.x + source.width if goes_right else source.x
    end = target.x if goes_right else target.x + target.width
    path = f"M{begin} {step.at}H{end - 7 if goes_right else end + 7}"
    badge_x = begin + 20 if goes_right else begin - 20
    text_x = min(begin, end) + (40 if goes_right else 16)
    return Arrow(step.number, step.source, step.target, step.topic, known, path, text_x, step.at, badge_x, step.at)


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
    """up, degraded while Payment sends the gateway no calls, poor while many of its answers are unclear or slow, or unknown."""
    payment = snapshot.services["payment"]
    if payment.foreign or payment.health is None:
        return "unknown"
    if any(each.alarm == "gateway" for each in payment.health.alarms):
        return "degraded"
    return "poor" if payment.gateway and payment.gateway.are_poor else "up"
