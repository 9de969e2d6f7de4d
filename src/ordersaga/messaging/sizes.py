"""Adapts how many records, requests or rows are handled as one set: fewer after a set was too large for the database, more after successes."""

import contextlib
from collections.abc import Iterator
from typing import Final

from ordersaga.messaging.sqlstate import is_too_large

SHRINK: Final = 4
GROW_AFTER: Final = 4


class SetSize:
    """The allowed size of a set, `now`: between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._in_a_row = 0
        self.now = most

    @contextlib.contextmanager
    def trying(self, count: int) -> Iterator[None]:
        """Adapts the size to the success or failure of a set of `count`. Errors pass through."""
        try:
            yield
        except Exception as error:
            if is_too_large(error):
                self.too_large(count)
            raise
        self.went_well(count)

    def too_large(self, tried: int) -> None:
        """A set of `tried` exceeded `statement_timeout` or the server's memory."""
        self.now = max(1, min(self.now, tried) // SHRINK)
        self._in_a_row = 0

    def went_well(self, tried: int) -> None:
        """A set of `tried` succeeded. Sets smaller than `now` do not count."""
        if self.now == self._most or tried < self.now:
            return
        self._in_a_row += 1
        if self._in_a_row >= GROW_AFTER:
            self.now = min(self._most, self.now * 2)
            self._in_a_row = 0
