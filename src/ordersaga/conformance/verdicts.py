"""How a case ends early: what it says of the service, and the tags of what a service may lack."""

from typing import Final

COMPENSATION: Final = "compensation"
DEAD_LETTERS: Final = "dead-letters"


class Broken(Exception):
    """The service did something else than the case's promise says. The text says what happened."""


class Silent(Broken):
    """Nothing came in time. With more time it might have."""


class NotOffered(Exception):
    """The case needs something that this service, or its hooks, do not have. The text says what, and which option gives it."""


class NotMeasurable(Exception):
    """What the case measures cannot be seen, because of another fault of the service. The text says which."""
