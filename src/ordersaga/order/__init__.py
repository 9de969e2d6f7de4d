"""The Order service: places orders and leads each through stock, payment and delivery, or back.

May import `contracts`, `messaging`, `http` and `settings`. Start with `saga.py`, the whole process as one pure function; `handlers.py`
feeds it from Kafka, `api.py` from HTTP.
"""
