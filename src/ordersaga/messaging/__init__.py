"""The runtime that makes Kafka and PostgreSQL behave as one: knows both, knows no order.

Start with `turn.py` (one turn of a consumer, top to bottom); each of its parts is a module: `ledger.py` (where we are, and the
fence), `outbox.py` (what is still to be published), `dead_letters.py`, `assignment.py` (taking and leaving partitions),
`gather.py` (HTTP writes). A service author sees only `handler.py`. May import `contracts`; only `kafka/` imports confluent_kafka.
"""
