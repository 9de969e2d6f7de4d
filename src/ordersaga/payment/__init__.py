"""Payment: asks the gateway for approval and for refunds, and tells Order the outcome, failures included.

Start with `approval.py`, the pure rule: which confirm is allowed, and which step follows an answer of the gateway. Its second half,
`settlement.py`, says how a settled intent changes the payment. Around them: `model.py` (the state), `handlers.py` (from Kafka) and
`commands.py` (from HTTP and from settled intents), both load, decide, save; `store.py` with `queries.sql`; `intents.py` (carries an intent
out at the gateway), `recovery.py` (claims open intents that are due), `webhooks.py` (asks for look-ups), `waiting.py` (requests that wait
for a confirm), `api.py`, `app.py`. `gateway.py` is the port, `toss.py` its adapter with `breaker.py`. May import `contracts`, `messaging`,
`http` and `settings`; no other service.
"""
