"""The Stock service: keeps products, reserves them for orders, all or nothing per order, and releases them again.

May import `contracts`, `messaging`, `http` and `settings`. Start with `allocation.py`, the rule as one pure function. `handlers.py`
gives it the requests of a batch from Kafka; `commands.py` has the operators' commands over HTTP.
"""
