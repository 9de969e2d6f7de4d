"""Decodes one order from Order's database: its row, its timeline, and the facts of its saga that another table can contradict."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.audit.finding import Moment
from ordersaga.contracts.answers import words
from ordersaga.said import Said, Saying

GRACE: Final = timedelta(seconds=60)
ENDED: Final = ("COMPLETED", "FAILED", "CANCELLED")
UNRELEASED: Final = frozenset({"RELEASE_REQUESTED", "RELEASE_FAILED"})
UNREFUNDED: Final = frozenset({"REFUND_REQUESTED", "REFUND_FAILED"})


class LineFact(msgspec.Struct, rename="camel"):
    """One product of the order, and the state of its stock for Order."""

    product_id: str
    quantity: int
    stock: str = "REQUESTED"


class PaymentFact(msgspec.Struct, rename="camel"):
    """One payment key of the order, in won. `held` None: the gateway holds all that was captured. `meant`: how much may go back."""

    payment_key: str
    amount: int
    state: str
    held: int | None = None
    meant: int = 0

    @property
    def left(self) -> int:
        """The won that the gateway holds for Order."""
        if self.held is not None:
            return self.held
        return 0 if self.state in ("REFUNDED", "DECLINED") else self.amount

    @property
    def given_back(self) -> int:
        return 0 if self.held is None else self.amount - self.held


class Facts(msgspec.Struct, rename="camel"):
    """The `facts` of a saga row. Only the fields that the audit compares are decoded."""

    lines: list[LineFact]
    payments: list[PaymentFact] = []
    delivery: str = "NOT_REQUESTED"
    delivery_id: UUID | None = None
    returning: str = "NOT_REQUESTED"
    listed_total: int | None = None
    flag: str | None = None
    look_at: datetime | None = None
    flag_said: list[Saying] = []

    @property
    def flag_words(self) -> Said:
        """The flag, by the codes that Order has kept with it, or in its own words."""
        return Said(self.flag or "", self.flag_said) if self.flag_said else words(self.flag)

    @property
    def captured(self) -> list[PaymentFact]:
        """The captured payments. The first one pays a living order."""
        return [each for each in self.payments if each.state not in ("AWAITING", "DECLINED")]

    @property
    def unmeant(self) -> list[PaymentFact]:
        """The payments from which the gateway gave back more than Order or an operator asked for. Matters only while the order lives."""
        return [each for each in self.payments if each.given_back > each.meant]

    @property
    def stock_states(self) -> set[str]:
        return {line.stock for line in self.lines}

    @property
    def payment_states(self) -> set[str]:
        return {each.state for each in self.payments}

    @property
    def pieces(self) -> dict[str, int]:
        """Pieces of each product. Stock adds up the lines of one product in the same way."""
        pieces: dict[str, int] = {}
        for line in self.lines:
            pieces[line.product_id] = pieces.get(line.product_id, 0) + line.quantity
        return pieces

    @property
    def is_owed(self) -> bool:
        """Whether Stock still owes the answer to a release, or Payment to a refund."""
        return not (self.stock_states.isdisjoint(UNRELEASED) and self.payment_states.isdisjoint(UNREFUNDED))


_facts: Final = msgspec.json.Decoder(Facts)


class AuditedOrder:
    """One order of Order's database, and whether it is still changing."""

    def __init__(self, order_id: UUID, row: Any, moment: Moment) -> None:
        """Raises `msgspec.MsgspecError` when the saga row is missing or its facts cannot be decoded."""
        self.order_id: Final = order_id
        self.row: Final = row
        self.facts: Final = _facts.decode(row["facts"] or "")
        self.status: Final[str] = row["status"]
        last_at = row["last_at"]
        self.is_recent: Final[bool] = (last_at is not None and moment.is_recent(last_at)) or (
            row["is_parked"] and not moment.at_rest
        )
        # Order has asked a partner and its timer will ask again. Judge the order once that timer is late, or a person was asked to look.
        asks = self.facts.look_at is not None and self.facts.look_at > moment.cutoff - GRACE and self.facts.flag is None
        self.is_moving: Final[bool] = self.is_recent or (asks and not moment.at_rest)

    @property
    def is_dead(self) -> bool:
        return self.status in ("FAILED", "CANCELLED")

    @property
    def statuses(self) -> list[str]:
        """The status after each event of the timeline, oldest first."""
        return self.row["statuses"] or []

    @property
    def came_in(self) -> list[str]:
        """The message or command behind each event of the timeline, oldest first."""
        return self.row["came_in"] or []

    @property
    def went_out(self) -> str:
        """The names of all messages that the timeline sent, in one text."""
        return self.row["went_out"] or ""

    def __str__(self) -> str:
        return str(self.order_id)
