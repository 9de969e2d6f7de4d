"""A person before a browser: what they look for and press. Selectors are roles and names, as a screen reader has them."""

import re
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

WAIT_MS = 20_000
ADDRESS = {
    "name": "Hana Kim",
    "phone": "010-1234-5678",
    "zipcode": "04524",
    "address": "1 Sejong-daero, Jung-gu, Seoul",
    "memo": "Please leave it at the door",
}
PAY = re.compile("^Pay |결제하기$")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
"""What axe looks for. Of what is right it describes one element for each rule instead of all."""
ROLES = {"READER", "OPERATOR", "MASTER"}
"""Roles have one name in every language: that of the tokens."""
LOOKS = {"en": ((1280, "light"), (360, "dark")), "ko": ((1280, "dark"), (360, "light"))}
"""By language, the widths and colours in which each page is looked at."""
expect.set_options(timeout=WAIT_MS)


def axe(page: Page) -> None:
    """Fails with what axe finds wrong on a page."""
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"


def is_for_everybody(page: Page, language: str) -> None:
    """Fails with what is wrong on a page in any of its looks. No page asks for its width or colours when it is loaded, so it is loaded once."""
    for width, scheme in LOOKS[language]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url} {width}"
    assert page.locator("html").get_attribute("lang") == language
    assert not shouting(page), page.url


class Visitor:
    """One browser window of one person. `errors`: what the console said and nobody expected."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.errors: list[str] = []
        self.expected: list[str] = []
        context.set_default_timeout(WAIT_MS)
        self.page = self.tab()

    def tab(self) -> Page:
        """Another tab of the same window."""
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(re.search(each, message.text) for each in self.expected):
            self.errors.append(f"{message.text} at {self.page.url}")

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.url + path)
        return self.page

    def press(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("button", name=name).click()

    def follow(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("link", name=name).first.click()

    def sign_in(self, name: str = "Hana Kim") -> None:
        self.open("/sign-in")
        self.press(name)

    def put_in_cart(self, product: str, pieces: int = 1) -> None:
        self.open("/")
        self.follow(product)
        self.page.get_by_label("Quantity").fill(str(pieces))
        self.press("Add to cart")

    def fill_address(self, page: Page | None = None, **changes: Any) -> None:
        for name, value in (ADDRESS | changes).items():
            (page or self.page).locator(f"#{name}").fill(value)

    def order(self, product: str = "Morning cup", pieces: int = 1, **address: Any) -> str:
        """Sign in, order a product, and return the path of the order's page."""
        self.sign_in()
        self.put_in_cart(product, pieces)
        self.follow("Go to checkout")
        self.fill_address(**address)
        self.press("Place order")
        self.page.wait_for_url(re.compile(r"/orders/[0-9a-f-]{36}$"))
        return self.page.url.removeprefix(self.url)

    def pay(self, card: str = "approve") -> None:
        """Through the gateway's checkout with one of its cards, and back."""
        self.press(PAY)
        self.page.locator(f"input[name=card][value={card}]").check()
        self.press(PAY)
        self.page.wait_for_url(re.compile(r"/orders/[0-9a-f-]{36}$"))

    def sees(self, title: str) -> None:
        """Wait until the order's page says this; the page is not loaded again."""
        expect(self.said).to_contain_text(title)

    @property
    def said(self) -> Locator:
        """The region that a screen reader announces."""
        return self.page.locator("#said[role=status]")

    @property
    def step(self) -> str:
        """The one current step: its name and state."""
        current = self.page.locator("[aria-current=step]")
        expect(current).to_have_count(1)
        return " ".join(current.inner_text().split())

    def orders(self) -> int:
        """How many orders this person has."""
        self.open("/orders")
        return self.page.locator(".orders li").count()

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


def shouting(page: Page) -> list[str]:
    """Names in capitals, such as RELEASE_REQUESTED, that the page shows a person as they are. Records are shown so, and what people have typed."""
    shown: list[str] = page.evaluate(
        """() => {
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
          while (walker.nextNode())
            if (!walker.currentNode.parentElement.closest("pre, q, textarea, script, .headers")) found.push(walker.currentNode.data);
          return found;
        }"""
    )
    words = {word for text in shown for word in re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|\b[A-Z]{5,}\b", text)}
    return sorted(words - ROLES)
