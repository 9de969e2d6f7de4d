"""Payment: asks the gateway for approval and for refunds, and tells Order the outcome, failures included.

Start with `approval.py`, the pure rule: which confirm is allowed, and what an answer of the gateway makes of an intent; its other half,
what a settled intent makes of the payment, is `settlement.py`. Around them: `model.py` (the state), `handlers.py` (from Kafka) and
`commands.py` (from HTTP and from settled intents), both load, decide, save; `store.py` with `queries.sql`; `intents.py` (carries an intent
out at the gateway), `recovery.py` (takes up intents that were left open), `waiting.py` (requests that wait for an outcome), `api.py`,
`app.py`. `gateway.py` is the port, `toss.py` its adapter with `breaker.py`. May import `contracts`, `messaging`, `http` and `settings`;
no other service.
"""
