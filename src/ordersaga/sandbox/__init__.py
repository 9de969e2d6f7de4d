"""A payment gateway that speaks Toss Payments' core API, with in-memory books, a checkout page and faults on demand.

For development, tests and benchmarks: no real money, no real cards. The sandbox shares no code with the adapter in `payment`: a mistake
about the protocol in one of them fails a test against the other. May import `settings`, and `http` and `messaging` for health.

Start with `app.py`. `toss_api.py` is the protocol, `books.py` the money, `faults.py` the faults, `checkout.py` and `dashboard.py` the
pages, `webhooks.py` the events.
"""
