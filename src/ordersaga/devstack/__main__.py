"""`python -m ordersaga.devstack` does the slow part of a first start in advance.

Downloads the broker's jars and lets the JVM record a start of the broker. Ends with 1 and the reason if a jar cannot be downloaded. If the
JVM cannot record the start, each later start takes a second longer.
"""

import sys

from ordersaga.devstack import jars
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.kafka import KafkaBroker


def main() -> None:
    try:
        print(f"{len(jars.classpath())} jars of Kafka are in place.")
    except DevStackError as error:
        sys.exit(str(error))
    folder = StackFolder(None)
    broker = KafkaBroker(folder)
    try:
        broker.record_start()
        print("The broker's start is recorded.")
    except DevStackError as error:
        print(f"The broker's start could not be recorded; it will take a second longer. {error}", file=sys.stderr)
    finally:
        broker.kill()
        folder.close()


main()
