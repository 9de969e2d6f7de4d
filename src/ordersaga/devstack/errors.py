"""The one error of the devstack."""


class DevStackError(RuntimeError):
    """A server cannot be started or stopped; the message says what to do about it."""
