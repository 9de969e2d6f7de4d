"""Who has looked at the console lately, as this web process knows it. What a page began that must not outlast its last reader asks all of them."""

import hashlib
from typing import Final

from ordersaga.operations.load_figures import AudienceBody


class Audience:
    """The sessions that were seen here since they were told last."""

    def __init__(self) -> None:
        self._seen: Final[set[str]] = set()
        self._left: Final[set[str]] = set()

    def seen(self, session_id: str) -> None:
        """Somebody of the staff has asked for a page."""
        self._seen.add(_name(session_id))

    def left(self, session_id: str) -> None:
        """A session has signed out."""
        self._left.add(_name(session_id))
        self._seen.discard(_name(session_id))

    def news(self) -> AudienceBody | None:
        """What is to be told; None: nothing."""
        if not self._seen and not self._left:
            return None
        news = AudienceBody(sorted(self._seen), sorted(self._left))
        self._seen.clear()
        self._left.clear()
        return news


def _name(session_id: str) -> str:
    """Another name for a session, from which its own cannot be told."""
    return hashlib.blake2b(session_id.encode(), digest_size=16).hexdigest()
