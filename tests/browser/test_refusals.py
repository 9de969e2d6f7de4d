"""An act of an operator that a service refuses: the page says that nothing was done, and why, in its own language."""

from collections.abc import Callable

import httpx
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from tests.browser.troubles import FACE, OPERATOR, enter, place
from tests.browser.visitor import Visitor

Visitors = Callable[..., Visitor]
TOLD = {
    "en-US": ("The order does not allow this now", "Why: the order waits for no answer"),
    "ko-KR": ("지금 주문 상태에서는 할 수 없습니다", "이유: 이 주문이 응답을 기다리는 요청이 없습니다"),
}
SUBMIT = """([path, values]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = path;
  for (const [name, value] of Object.entries(values)) {
    const field = form.appendChild(document.createElement("input"));
    [field.type, field.name, field.value] = ["hidden", name, value];
  }
  document.body.append(form);
  form.submit();
}"""
"""A form that the page offered a moment before."""


def test_an_order_that_does_not_allow_an_act_says_why(visitor: Visitors, system: System) -> None:
    order_id, _, _ = place(system, pieces=9_999)
    for language, (nothing, why) in TOLD.items():
        one = enter(visitor, language=language)
        page = one.open(f"/console/orders/{order_id}")
        expect(page.locator("h1 .badge.failed")).to_be_visible()
        now = httpx.get(f"{system.urls['order']}{FACE}/orders/{order_id}", headers=OPERATOR).raise_for_status().json()
        csrf = page.locator("[name=csrf]").first.get_attribute("value")
        form = {"csrf": csrf, "version": now["version"], "reason": "late"}
        page.evaluate(SUBMIT, [f"/console/orders/{order_id}/resend", form])
        told = page.get_by_role("alert").first
        expect(told).to_contain_text(nothing)
        expect(told).to_contain_text(why)
