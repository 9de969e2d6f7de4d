"""What the HTTP faces of all services share: problems (RFC 9457), bodies, the caller, `Prefer`, health, metrics, serving.

May import `contracts`, `messaging` and `settings`; no service. Start with `server.py`.
"""
