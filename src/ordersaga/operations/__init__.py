"""Operations: what operators see of a service and do to it, the same for `cli` and for the HTTP face of each service.

`desk.py` is one service as an operator has it. `letters.py`, `selection.py`, `rehearsing.py`, `queues.py` and `partitions.py` are the acts and
reads without any output; `jobs.py` runs bulk acts. `api.py` begins the HTTP face. Imports `http` and `messaging`, no service and no `cli`.
"""
