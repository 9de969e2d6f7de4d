"""The error that ends a process on purpose."""


class CannotStart(Exception):
    """The process cannot run with its settings, and a retry does not help: a port in use, a setting that names nothing.

    The text tells the person who started the process what is wrong, the setting, and what to change. `serve` prints the text and exits
    with `cli.serve.CANNOT_START`; its supervisor then starts no other worker.
    """
