"""The Delivery service: hands an order's parcel to a carrier, once, or says that it cannot be delivered.

May import `contracts`, `messaging`, `http` and `settings`. Start with `dispatch.py`, the rule as one pure function;
`carrier.py` is the port to whoever carries the parcels.
"""
