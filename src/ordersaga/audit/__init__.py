"""The audit: proves from the four databases, Kafka and the gateway's books that nothing was lost and nothing was taken twice.

May see every service's tables and imports no service. Start with `verify.py`; `orders.py` judges order by order, `completions.py` reads
the completion records, `partitions.py` compares ledgers with Kafka, `records.py` judges outboxes, parked records and dead letters,
`shelf.py` products and prices, `books.py` the gateway's money, `sources.py` opens the databases, `queries.sql` is everything that is read.
"""

from ordersaga.audit.finding import Finding
from ordersaga.audit.verify import verify

__all__ = ["Finding", "verify"]
