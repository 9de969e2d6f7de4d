"""ordersaga: the order process of an online shop as four event-driven services over Kafka and PostgreSQL.

Start reading at `contracts` (the wire), then `messaging/turn.py` (the promise), then `order/saga.py` (the process).
"""

__version__ = "0.1.0"
