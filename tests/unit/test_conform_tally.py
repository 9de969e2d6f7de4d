"""What the kit counts over all cases: no order has more answers than requests, whichever of them came when."""

from typing import Any
from uuid import uuid4

from ordersaga.conformance.tally import Tally
from ordersaga.conformance.wire import Heard, Sent, compact
from ordersaga.messaging.handler import Coordinates, Record

ASKED, ANSWERED = "order-created", "stock-response-topic"
ORDER, ONE, OTHER = (str(uuid4()) for _ in range(3))


def request(*products: str) -> Sent:
    lines = [{"productId": each, "quantity": 1} for each in products]
    return Sent(Coordinates(ASKED, 0, 1), None, compact({"orderId": ORDER.upper(), "products": lines}), (), 0.0)


def answer(product: str | None = None, at_s: float = 1.0, **more: Any) -> Heard:
    told = {"orderId": ORDER, "productId": product, "status": "SUCCESS"} | more
    return Heard(Record(ANSWERED, 0, 7, None, compact(told), (), 0), at_s)


def tally(requests: list[Sent], answers: list[Heard]) -> Tally:
    made = Tally()
    for sent in requests:
        made.ask(ASKED, ORDER.upper(), sent)
    for heard in answers:
        made.note(heard)
    return made


def test_as_many_answers_as_requests_are_no_surplus() -> None:
    for requests, answers in (
        ([request(ONE)], [answer(ONE)]),
        ([request(ONE), request(ONE)], [answer(ONE), answer(ONE)]),
        ([request(ONE, OTHER)], [answer(ONE), answer(OTHER)]),
        ([request(ONE, ONE)], [answer(ONE), answer(ONE)]),
        ([request(ONE, OTHER)], [answer()]),
        ([], [answer(ONE)]),
        ([request(ONE)], [answer(ONE), answer(ONE, orderId=OTHER), answer(ONE, orderId=7)]),
    ):
        assert tally(requests, answers).surplus(ASKED, ANSWERED) is None


def test_an_answer_too_many_is_found_with_its_records_however_late_it_comes() -> None:
    for requests, answers, said in (
        (
            [request(ONE)],
            [answer(ONE), answer(ONE, 9.5)],
            "once and answered twice, the last time 8.5 s after the first",
        ),
        ([request(ONE)] * 2, [answer(ONE)] * 3, "twice and answered 3 times"),
        ([request(ONE, OTHER)], [answer(ONE), answer(ONE), answer(OTHER)], f"product {ONE} of order {ORDER}"),
        ([request(ONE)], [answer(), answer()], f"order {ORDER} was asked for once and answered twice"),
    ):
        found = tally(requests, answers).surplus(ASKED, ANSWERED)
        assert found is not None and said in str(found) and found.sent == requests and len(found.answers) > 1


def test_what_comes_after_a_kill_or_on_another_topic_is_not_counted() -> None:
    made = tally([request(ONE)], [answer(ONE), answer(ONE, 9.5)])
    assert made.surplus(ASKED, "another-topic") is None
    made.until_s = 9.0
    assert made.surplus(ASKED, ANSWERED) is None
