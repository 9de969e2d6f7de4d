"""The same work as `flow`, by others: Spring with JPA, Spring in batches of two kinds, FastStream with SQLAlchemy, and ours one by one.

Start with `compare.py`, which runs them in turn. `contender.py` is what takes part, `shop.py` the peers' databases and topics; the peers
themselves are in `spring/` (Java) and `faststream_shop/`, over the tables of `schema/`.
"""
