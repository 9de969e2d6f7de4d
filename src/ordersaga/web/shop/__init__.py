"""The shop: the guide's client. Products, cart, checkout, and orders whose steps advance live.

Start with `routes.py`. `progress.py` is the pure part: it says in which step an order is, and what became of the money.
"""
