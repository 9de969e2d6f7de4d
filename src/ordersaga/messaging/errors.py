"""An error that ends a process on purpose."""


class CannotStart(Exception):
    """This process cannot work with what it was given, and trying again does not help: a taken port, a setting that names nothing.

    The text is a sentence for whoever started it: what is wrong, the setting's name, what to change. `serve` prints it and exits with
    `cli.serve.CANNOT_START`, which its supervisor does not answer with another worker.
    """
