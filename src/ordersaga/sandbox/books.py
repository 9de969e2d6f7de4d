"""The sandbox's books: every payment with its balance, the answers kept for idempotency, and a journal that survives a kill.

No method awaits, so each change is atomic in the event loop and the books need no lock. Times are epoch seconds, amounts won.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

import msgspec

AMOUNT_MIN: Final = 1_000
ANSWER_KEPT_S: Final = 15 * 24 * 3_600
_KOREA: Final = timezone(timedelta(hours=9))


class TossFailure(msgspec.Struct, frozen=True):
    """Why a payment was aborted."""

    code: str
    message: str


class TossRefund(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of a payment's `cancels`."""

    cancel_amount: int
    cancel_reason: str
    refundable_amount: int
    canceled_at: str
    transaction_key: str
    cancel_status: str = "DONE"
    tax_free_amount: int = 0


class TossPayment(msgspec.Struct, frozen=True, rename="camel"):
    """The main fields of Toss's Payment object. Immutable, so a stored answer keeps the state that it told."""

    payment_key: str
    order_id: str
    order_name: str
    total_amount: int
    balance_amount: int
    supplied_amount: int
    vat: int
    status: str
    requested_at: str
    m_id: str = "ordersaga"
    version: str = "2022-11-16"
    type: str = "NORMAL"
    currency: str = "KRW"
    country: str = "KR"
    method: str = "카드"
    approved_at: str | None = None
    use_escrow: bool = False
    last_transaction_key: str | None = None
    is_partial_cancelable: bool = True
    tax_free_amount: int = 0
    failure: TossFailure | None = None
    cancels: tuple[TossRefund, ...] | None = None


class Entry(msgspec.Struct):
    """One payment in the books, with the fields that the protocol does not show."""

    payment: TossPayment
    card: str
    opened_at_s: float
    confirms: int = 0


class Answer(msgspec.Struct, frozen=True):
    """The first answer to an idempotency key: an error code, or the payment at that time."""

    status: int
    code: str | None
    payment: TossPayment | None
    at_s: float


class _Line(msgspec.Struct, omit_defaults=True):
    """One line of the journal: a payment's new state, an answer, or both."""

    at_s: float
    payment: TossPayment | None = None
    card: str = ""
    opened_at_s: float = 0.0
    scope: str | None = None
    status: int = 0
    code: str | None = None


class Totals(msgspec.Struct, rename="camel"):
    """Sums over all payments, for the audit. captured - refunded = held. Amounts in won."""

    payments: int = 0
    captured_amount: int = 0
    refunded_amount: int = 0
    held_amount: int = 0
    by_status: dict[str, int] = {}


class Books:
    """All payments. With a journal, a sandbox that was killed at any moment still knows every answer that it gave.

    Raises BlockingIOError if another sandbox has the journal open: both would approve the same payment.
    """

    def __init__(
        self, journal_path: Path | None = None, session_s: float = 600.0, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._session_s = session_s
        self._clock_s = clock_s
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._key_by_order: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        self._second = 0
        self._second_text = ""
        self._journal = None if journal_path is None else self._open_journal(journal_path)

    def close(self) -> None:
        """Close the journal and release its lock."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def open(self, order_id: str, amount: int, order_name: str, card: str) -> TossPayment:
        """Add a payment that the customer has authorised and that waits for its confirm."""
        vat = round(amount / 11)
        payment = TossPayment(
            payment_key=f"tsbx{secrets.token_hex(14)}",
            order_id=order_id,
            order_name=order_name,
            total_amount=amount,
            balance_amount=amount,
            supplied_amount=amount - vat,
            vat=vat,
            status="IN_PROGRESS",
            requested_at=self._now_text(),
        )
        now_s = self._clock_s()
        self._write(_Line(at_s=now_s, payment=payment, card=card, opened_at_s=now_s))
        self._enter(payment, card, now_s)
        return payment

    def entry(self, payment_key: str) -> Entry | None:
        """The payment's entry, if there is one. A payment whose session is over becomes EXPIRED here."""
        entry = self._entries.get(payment_key)
        if (
            entry is not None
            and entry.payment.status == "IN_PROGRESS"
            and self._clock_s() - entry.opened_at_s > self._session_s
        ):
            entry.payment = msgspec.structs.replace(entry.payment, status="EXPIRED")
        return entry

    def entry_of_order(self, order_id: str) -> Entry | None:
        """The entry of the order's captured payment, otherwise of its latest payment."""
        key = self._key_by_order.get(order_id)
        return None if key is None else self.entry(key)

    def confirm(self, payment_key: str, order_id: str, amount: int, decline: TossFailure | None) -> TossPayment | str:
        """The payment captured, or aborted with `decline`; an error code if it cannot be confirmed. `record` makes the change."""
        entry = self.entry(payment_key)
        if entry is None:
            return "NOT_FOUND_PAYMENT"
        payment = entry.payment
        if payment.order_id != order_id:
            return "FORBIDDEN_REQUEST"
        if payment.status == "EXPIRED":
            return "NOT_FOUND_PAYMENT_SESSION"
        if payment.failure is not None:
            return payment.failure.code
        if payment.status != "IN_PROGRESS":
            return "ALREADY_PROCESSED_PAYMENT"
        if amount != payment.total_amount:
            return "INVALID_REQUEST"
        if amount < AMOUNT_MIN:
            return "BELOW_MINIMUM_AMOUNT"
        if decline is not None:
            return msgspec.structs.replace(payment, status="ABORTED", failure=decline)
        return msgspec.structs.replace(
            payment, status="DONE", approved_at=self._now_text(), last_transaction_key=secrets.token_hex(16).upper()
        )

    def cancel(
        self, payment_key: str, reason: str, amount: int | None, refundable_amount: int | None
    ) -> TossPayment | str:
        """The payment with `amount` less, or with nothing held; an error code if it cannot be refunded. `record` makes the change."""
        entry = self.entry(payment_key)
        if entry is None:
            return "NOT_FOUND_PAYMENT"
        payment = entry.payment
        if payment.status == "CANCELED":
            return "ALREADY_CANCELED_PAYMENT"
        if payment.status not in ("DONE", "PARTIAL_CANCELED"):
            return "NOT_CANCELABLE_PAYMENT"
        if refundable_amount is not None and refundable_amount != payment.balance_amount:
            return "NOT_MATCHES_REFUNDABLE_AMOUNT"
        amount = payment.balance_amount if amount is None else amount
        balance = payment.balance_amount - amount
        if balance < 0:
            return "NOT_CANCELABLE_AMOUNT"
        transaction_key = secrets.token_hex(16).upper()
        refund = TossRefund(amount, reason, balance, self._now_text(), transaction_key)
        vat = round(balance / 11)
        return msgspec.structs.replace(
            payment,
            status="PARTIAL_CANCELED" if balance else "CANCELED",
            balance_amount=balance,
            supplied_amount=balance - vat,
            vat=vat,
            last_transaction_key=transaction_key,
            cancels=(*(payment.cancels or ()), refund),
        )

    def record(self, payment: TossPayment | None, scope: str | None, status: int, code: str | None) -> Answer:
        """Store a payment's new state and its answer. Both are one line of the journal, so a kill keeps both or neither."""
        now_s = self._clock_s()
        entry = self._entries[payment.payment_key] if payment is not None else None
        if entry is not None or scope is not None:
            card, opened_at_s = (entry.card, entry.opened_at_s) if entry is not None else ("", 0.0)
            self._write(_Line(now_s, payment, card, opened_at_s, scope, status, code))
        if payment is not None and entry is not None:
            entry.payment = payment
            if payment.status == "DONE":
                self._key_by_order[payment.order_id] = payment.payment_key
        answer = Answer(status, code, None if code else payment, now_s)
        if scope is not None:
            self._answers[scope] = answer
        return answer

    def answered(self, scope: str) -> Answer | None:
        """The first answer under this idempotency key, kept for `ANSWER_KEPT_S`."""
        answer = self._answers.get(scope)
        return answer if answer is not None and self._clock_s() - answer.at_s < ANSWER_KEPT_S else None

    def page(self, after: int, limit: int) -> Iterator[tuple[int, TossPayment]]:
        """At most `limit` payments in the order of their checkout, each with its position; the next page begins after the last one."""
        for position, key in enumerate(self._keys[after : after + limit], start=after + 1):
            entry = self.entry(key)
            if entry is not None:
                yield position, entry.payment

    def totals(self) -> Totals:
        """Count over all payments. Kept sums could drift; a count takes about a second for a million payments."""
        totals = Totals(payments=len(self._keys))
        for _, payment in self.page(0, len(self._keys)):
            totals.by_status[payment.status] = totals.by_status.get(payment.status, 0) + 1
            if payment.approved_at is not None:
                totals.captured_amount += payment.total_amount
                totals.held_amount += payment.balance_amount
        totals.refunded_amount = totals.captured_amount - totals.held_amount
        return totals

    def _enter(self, payment: TossPayment, card: str, opened_at_s: float) -> None:
        self._entries[payment.payment_key] = Entry(payment, card, opened_at_s)
        self._keys.append(payment.payment_key)
        standing = self._key_by_order.get(payment.order_id)
        # A second checkout of a paid order must not hide the money that the first one holds.
        if standing is None or self._entries[standing].payment.approved_at is None:
            self._key_by_order[payment.order_id] = payment.payment_key

    def _now_text(self) -> str:
        second = int(self._clock_s())
        if second != self._second:
            self._second, self._second_text = second, datetime.fromtimestamp(second, _KOREA).isoformat()
        return self._second_text

    def _write(self, line: _Line) -> None:
        # Unbuffered: the page cache survives the death of the process. The journal promises nothing about a power cut.
        if self._journal is not None:
            os.write(self._journal, msgspec.json.encode(line) + b"\n")

    def _open_journal(self, path: Path) -> int:
        journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            decoder = msgspec.json.Decoder(_Line)
            whole_bytes = 0
            with path.open("rb") as lines:
                for text in lines:
                    if not text.endswith(b"\n"):
                        break  # The process was killed in the middle of this write, before it sent the answer.
                    self._replay(decoder.decode(text))
                    whole_bytes += len(text)
            os.ftruncate(journal, whole_bytes)
        except BaseException:
            os.close(journal)
            raise
        return journal

    def _replay(self, line: _Line) -> None:
        payment = line.payment
        if payment is not None:
            entry = self._entries.get(payment.payment_key)
            if entry is None:
                self._enter(payment, line.card, line.opened_at_s)
            else:
                entry.payment = payment
                if payment.status == "DONE":
                    self._key_by_order[payment.order_id] = payment.payment_key
        if line.scope is not None:
            self._answers[line.scope] = Answer(line.status, line.code, None if line.code else payment, line.at_s)
