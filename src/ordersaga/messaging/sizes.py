"""How many are taken at once, where many are handled as one: less after a set was too large for the database, more again after successes."""

import contextlib
from collections.abc import Iterator
from typing import Final

from ordersaga.messaging.sqlstate import is_too_large

SHRINK: Final = 4
GROW_AFTER: Final = 4


class SetSize:
    """Begins with the most. One by one is the least: what is too large alone is no question of size."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._in_a_row = 0
        self.now = most

    @contextlib.contextmanager
    def trying(self, count: int) -> Iterator[None]:
        """Notes how a set of so many fared; its error goes on."""
        try:
            yield
        except Exception as error:
            if is_too_large(error):
                self.too_large(count)
            raise
        self.went_well(count)

    def too_large(self, tried: int) -> None:
        """A set of so many took too long, or more memory than there is."""
        self.now = max(1, min(self.now, tried) // SHRINK)
        self._in_a_row = 0

    def went_well(self, tried: int) -> None:
        """A set of so many succeeded; smaller ones than are allowed prove nothing."""
        if self.now == self._most or tried < self.now:
            return
        self._in_a_row += 1
        if self._in_a_row >= GROW_AFTER:
            self.now = min(self._most, self.now * 2)
            self._in_a_row = 0
