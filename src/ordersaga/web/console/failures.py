"""What has failed more than once for one order: its dead letters of one service, topic and cause are one failure. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ordersaga.operations.resources import DeadLetterResource


class Failure(Struct, frozen=True):
    """The letters of one failure, the latest first."""

    letters: Sequence[DeadLetterResource]

    @property
    def latest(self) -> DeadLetterResource:
        return self.letters[0]

    @property
    def first(self) -> DeadLetterResource:
        return self.letters[-1]


def failures(letters: Iterable[DeadLetterResource]) -> list[Failure]:
    """The failures of one order in one service, the latest first."""
    found: dict[tuple[str, str], list[DeadLetterResource]] = {}
    for each in sorted(letters, key=lambda each: each.at, reverse=True):
        found.setdefault((each.topic, each.cause), []).append(each)
    return [Failure(each) for each in found.values()]
