"""Real Apache Kafka and real PostgreSQL from packages, as child processes: no Docker, no installed Java.

Start reading at stack.py. kafka.py and postgres.py know one server each, server.py what they share, leash.py sees to it
that no server outlives the process that started it, folder.py keeps data and ports, jars.py has the broker's jars.
system.py adds the services to it. Only that one imports anything else of ordersaga.
`python -m ordersaga.devstack` does beforehand what the first start would wait for.
"""

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.stack import DevStack

__all__ = ["DevStack", "DevStackError"]
