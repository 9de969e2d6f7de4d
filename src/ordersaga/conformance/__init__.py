"""The conformance kit: plays all other roles over live Kafka against a service of any team, and says which promise it breaks.

Start with `run.py`. `probe.py` finds out whether a service can be judged. `roles.py` names the files
with the cases of each role: `stock_flow.py` is how the kit asks Stock, `stock.py` and `stock_rollback.py` what it asks, and so on. `form.py`,
`shapes.py`, `repeats.py`, `poison.py` and `load.py` have the cases that every exchange of messages has (`exchange.py`). `stage.py` is Kafka,
`scene.py` one case's face of it, `hooks.py` what the guide lacks. `report.py` writes what was found. May import contracts and the Kafka
wrapper, and no service.
"""

from ordersaga.conformance.cases import NoSuchCase
from ordersaga.conformance.hooks import WrongHook
from ordersaga.conformance.plan import Plan
from ordersaga.conformance.probe import CannotJudge
from ordersaga.conformance.roles import PARTS, Part
from ordersaga.conformance.run import Report, Result, run

__all__ = ["PARTS", "CannotJudge", "NoSuchCase", "Part", "Plan", "Report", "Result", "WrongHook", "run"]
