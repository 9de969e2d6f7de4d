"""A payment gateway that speaks Toss Payments' core API, with in-memory books, a checkout page and faults on demand.

For development, tests and benchmarks: no real money, no real cards. It shares no code with the adapter that it tests, so that a
misreading of the protocol shows on one side. Imports nothing of ours but the settings. Start with `app.py`; `toss_api.py`
is the protocol, `books.py` the money, `faults.py` what can go wrong.
"""
