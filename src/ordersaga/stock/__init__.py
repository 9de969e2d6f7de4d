"""The Stock service: keeps products, reserves them for orders, all or nothing per order, and gives them back.

May import `contracts`, `messaging`, `http` and `settings`. Start with `allocation.py`, the rule as one pure function;
`handlers.py` feeds it from Kafka, `commands.py` holds what operators may do over HTTP.
"""
