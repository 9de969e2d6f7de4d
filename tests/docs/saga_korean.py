"""The Korean of the saga's page: its text, and every name of a state or a message in its tables and diagrams."""

import re
from typing import Final

OR: Final = " 또는 "
HEADS: Final = ("상태", "들어온 것", "바뀐 상태", "나가는 것")
STATE_OR_REASON: Final = re.compile(r"[A-Z_]+")
NAMES: Final = {
    "stock asked": "재고 요청함",
    "reserved": "예약됨",
    "unpaid": "미결제",
    "paid": "결제됨",
    "a price is not known": "가격을 모름",
    "a part went back": "일부가 환불됨",
    "delivery asked": "배송 요청함",
    "return asked": "반품 신청함",
    "stock SUCCESS": "재고 SUCCESS",
    "stock FAILED": "재고 FAILED",
    "stock, a product that is not in the order": "재고 응답, 주문에 없는 상품",
    "payment SUCCESS": "결제 SUCCESS",
    "payment SUCCESS, the total": "결제 SUCCESS, 총액과 같음",
    "payment SUCCESS, another amount": "결제 SUCCESS, 총액과 다름",
    "payment FAILED": "결제 FAILED",
    "delivery STARTED": "배송 STARTED",
    "delivery FAILED": "배송 FAILED",
    "rollback completed": "재고 반환 완료",
    "rollback failed": "재고 반환 실패",
    "refund SUCCESS": "환불 SUCCESS",
    "refund FAILED": "환불 FAILED",
    "all went back at the gateway": "PG에서 전액 환불됨",
    "a part went back at the gateway": "PG에서 일부 환불됨",
    "refund FAILED, only a part is held": "환불 FAILED, 일부만 남아 있음",
    "an operator says that a refund was meant": "운영자가 의도한 환불이라고 승인",
    "the customer cancels": "고객이 취소",
    "the customer returns": "고객이 반품",
    "the customer asks to return": "고객이 반품을 신청",
    "an operator has the returned goods": "운영자가 반품 입고를 확인",
    "an operator refuses the return": "운영자가 반품을 거절",
    "an operator has the requests sent again": "운영자가 요청을 다시 보냄",
    "the prices come to the total": "가격 합계가 총액과 같음",
    "the prices come to another total": "가격 합계가 총액과 다름",
    "no stock answer in time": "기한 안에 재고 응답 없음",
    "no delivery answer in time": "기한 안에 배송 응답 없음",
    "no release in time, or it was refused": "기한 안에 재고 반환이 없거나 거절됨",
    "no refund in time, or it was refused": "기한 안에 환불이 없거나 거절됨",
    "no stock answer, asked often enough": "여러 번 요청해도 재고 응답 없음",
    "no payment in time": "기한 안에 결제 없음",
    "no price in time": "기한 안에 가격 없음",
    "asked again": "다시 요청",
    "the order dies": "주문이 실패하거나 취소됨",
    "the order is dead": "이미 실패하거나 취소된 주문",
    "the order is paid": "이미 결제된 주문",
}
PAGE: Final = """\
# 사가 표

[English](saga.md)

`make saga`가 `tests/docs/saga_page.py`로 만듭니다. 이 코드는 `order/saga.py` `decide`에 상태마다 메시지를 하나씩 모두 넣어 봅니다. 이 페이지가 코드와
같은지는 테스트가 비교합니다. 상품이 하나이고 결제 키가 하나 또는 둘인 주문에는, 모든 종류의 메시지가 어떤 순서로 몇 번 오든 {states:,}가지 상태가
생길 수 있고, 상태와 메시지의 쌍 {cells:,}개를 시험했습니다. 아래 어느 행에도 없는 쌍은 아무 효과가 없습니다.

## 주문

{order_diagram}

{order_rows}

주문을 내면 StockDecreaseRequest와 OrderPayable이 나갑니다. 상품 하나라도 가격을 아직 모르면 주문은 "가격을 모름"에서 시작하고, 가격이 오면
OrderPayable이 나갑니다. `ORDERSAGA_RETURN_NEEDS_RECEIPT`를 켜면 "고객이 반품" 대신 "고객이 반품을 신청"이 됩니다. 실패하거나 취소된 주문(FAILED,
CANCELLED)의 상태는 다시 바뀌지 않습니다. 그 주문이 아직 가진 것은 아래 두 다이어그램에 따라 되돌아갑니다.

| 409로 거절 | 상태 |
|---|---|
{refused}

| 모순으로 적기만 하고 효과는 없음 | 상태 |
|---|---|
{anomalies}

## 주문의 상품마다

{product_diagram}

재고 반환의 응답은 주문만 가리키므로, 재고 반환은 한 번에 하나만 진행합니다. 그 사이 온 것은 응답을 기다립니다. 주문이 실패하거나 취소될 때
아직 REQUESTED인 상품은 응답을 기다렸다가, 성공이면 되돌립니다.

## 주문의 결제마다

{payment_diagram}

주문은 결제 하나로 지불됩니다. 그 밖에 매입된 결제와, 실패하거나 취소된 주문의 결제는 매입된 금액만큼 환불을 요청합니다.
"""


def said(text: str) -> str:
    """A state, a reason or a message in Korean. Raises KeyError for one that has no Korean name."""
    if STATE_OR_REASON.fullmatch(text):
        return text
    if text in NAMES:
        return NAMES[text]
    if text.endswith(")"):  # a state and the reason for it
        state, _, reason = text.partition(" (")
        return f"{said(state)} ({reason}"
    begin, comma, end = text.rpartition(", ")
    if not comma:
        raise KeyError(text)
    return f"{said(begin)}, {said(end)}"
