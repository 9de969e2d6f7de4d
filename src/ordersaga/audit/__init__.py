"""The audit: proves from the four databases, Kafka and the gateway's books that nothing was lost and nothing was taken twice.

May see every service's tables and imports no service. Start with `verify.py`; `orders.py` judges order by order, `records.py` what lies
between the services, `queries.sql` is everything that is read.
"""

from ordersaga.audit.finding import Finding
from ordersaga.audit.verify import verify

__all__ = ["Finding", "verify"]
