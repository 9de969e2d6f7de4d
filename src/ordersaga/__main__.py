"""`python -m ordersaga`, and the command `ordersaga`."""

import os
import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C while it is still being loaded ends it without a traceback, as it does later."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(os.write(2, b"stopped\n") and 1))
    from ordersaga.cli.main import commands

    commands(sys.argv[1:])()


if __name__ == "__main__":
    main()
