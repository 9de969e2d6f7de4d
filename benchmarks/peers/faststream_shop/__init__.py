"""Order, Stock and Delivery as a Python team writes them with FastStream and SQLAlchemy: one message is one transaction.

`python -m benchmarks.peers.faststream_shop order`. Start with `order.py`; `shop.py` is what the three share.
"""
