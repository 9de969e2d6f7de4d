"""Real Apache Kafka and real PostgreSQL from packages, as child processes: no Docker, no installed Java.

Start reading at stack.py. kafka.py and postgres.py run one server each, server.py has what both share, leash.py ends a server when the
process that started it is gone, folder.py keeps data and ports, jars.py fetches the broker's jars, side_by_side.py starts several at once,
errors.py has the one error. system.py adds the services; it is the only file here that imports the rest of ordersaga. `python -m
ordersaga.devstack` does the slow part of a first start in advance.
"""

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.stack import DevStack

__all__ = ["DevStack", "DevStackError"]
