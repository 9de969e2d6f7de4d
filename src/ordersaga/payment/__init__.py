"""Payment: asks the gateway for approval and for refunds, and tells Order the outcome, failures included.

Start with `approval.py`, the pure rule. Around it: `model.py` (the state), `handlers.py` (load, decide, save), `store.py` with
`queries.sql` (the database), `intents.py` (carries an intent out at the gateway), `recovery.py` (takes up intents that were left
open), `waiting.py` (requests that wait for an outcome), `api.py`, `app.py`. `gateway.py` is the port, `toss.py` its adapter with
`breaker.py`. May import `contracts`, `messaging`, `http` and `settings`; no other service.
"""
