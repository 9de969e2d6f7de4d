"""The HTTP layer of all services: problems (RFC 9457), bodies, the caller, `Prefer`, `Idempotency-Key`, health, metrics, serving, limits.

May import `contracts`, `messaging` and `settings`; no service. Start with `server.py`; a request passes `protocol.py` (limits),
`application.py`, a service's route, `requests.py` (what it says), and `problems.py` where it is refused.
"""
