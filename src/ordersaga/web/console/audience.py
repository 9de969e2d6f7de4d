"""Who has looked at the console lately. What a page began that must not outlast its last reader asks here."""

import time
from typing import Final

AWAY_S: Final = 60.0
"""A session that asks for no page for so long is gone: the browser is closed, or its tab is not seen."""


class Audience:
    """The sessions before this web process."""

    def __init__(self) -> None:
        self._seen_at_s: Final[dict[str, float]] = {}

    def seen(self, session_id: str) -> None:
        """Somebody of the staff has asked for a page."""
        self._seen_at_s[session_id] = time.monotonic()

    def left(self, session_id: str) -> None:
        """A session has signed out."""
        self._seen_at_s.pop(session_id, None)

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there any more."""
        now = time.monotonic()
        for each in [name for name, at in self._seen_at_s.items() if now - at > AWAY_S]:
            del self._seen_at_s[each]
        return not self._seen_at_s
