"""The runtime that makes Kafka and PostgreSQL behave as one: knows both, knows no order.

Start with `consuming.py` (the steps of a round), then `turn.py` (one turn, top to bottom); each behaviour is a file: `ledger.py` (the
next offsets, and the fence), `assignment.py` (taking and leaving partitions), `isolation.py`, `parking.py`, `retries.py`, `outbox.py`,
`dead_letters.py`, `gather.py` (HTTP writes). `runtime.py` starts them all. A service author sees only `handler.py`. May import
`contracts`; only `kafka/` imports confluent_kafka.
"""
