"""The Order service: places orders, and leads each through stock, payment and delivery, or gives back what it holds.

May import `contracts`, `messaging`, `http` and `settings`. Start with `saga.py`, the whole process as one pure function. `handlers.py`
gives it the records from Kafka, `commands.py` and `operators.py` the commands from HTTP, `waking.py` the timers.
"""
