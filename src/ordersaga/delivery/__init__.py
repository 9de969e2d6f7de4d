"""The Delivery service: asks a carrier about each order's parcel, keeps one verdict, and tells Order whether the parcel is on its way.

May import `contracts`, `messaging`, `http` and `settings`. Start with `dispatch.py`, the rule as one pure function. `carrier.py` is the
port to the carrier; `app.py` chooses the carrier.
"""
