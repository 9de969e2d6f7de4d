"""The audit: proves from the four databases, Kafka and the gateway's books that nothing was lost and nothing was taken twice.

May see every service's tables and imports no service. Start with `verify.py`. `orders.py` judges order by order: `facts.py` decodes an
order from Order's database, `contradictions.py` compares its status, facts and timeline, `agreement.py` compares it with the other
services, `predecessors.py` leaves out what another team decided before, `completions.py` reads the completion records. `partitions.py` compares ledgers with Kafka, `records.py` judges outboxes, dead
letters and parked records, `letters.py` compares dead letters with their topics, `shelf.py` judges products and prices, `books.py` the
gateway's money. `sources.py` opens the databases, and `queries.sql` holds all statements. `app.py`
begins the HTTP face, for which `auditor.py` runs the audit and `kept.py` keeps its results.
"""

from ordersaga.audit.finding import Finding
from ordersaga.audit.verify import verify

__all__ = ["Finding", "verify"]
