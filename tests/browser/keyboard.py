"""A visitor without a mouse."""

import re

from playwright.sync_api import Page

TABS_MAX = 80
FOCUSED = (
    "(e => [e.getAttribute('aria-label') || e.labels?.[0]?.innerText || (e.matches('a, button, summary') && e.innerText) || '', "
    "getComputedStyle(e).outlineStyle])(document.activeElement)"
)
"""The name of what is in focus, and its outline. A region that scrolls is in focus, too, and has no name."""


class Keyboard:
    """Reaches things by Tab alone, and sees that the focus is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def to(self, name: str) -> None:
        """Tab until what has this name, a regular expression, is in focus."""
        for _ in range(TABS_MAX):
            self._page.keyboard.press("Tab")
            said, outline = self._page.evaluate(FOCUSED)
            if re.search(name, " ".join(said.split())):
                assert outline != "none", f"the focus on {name} is not seen"
                return
        raise AssertionError(f"nothing called {name} is reached by Tab")

    def activate(self, name: str) -> None:
        """Press a button, or follow a link."""
        self.to(name)
        self._page.keyboard.press("Enter")

    def fill(self, name: str, value: str) -> None:
        """Replace what a field has."""
        self.to(name)
        self._page.keyboard.press("Control+a")
        self._page.keyboard.type(value)
