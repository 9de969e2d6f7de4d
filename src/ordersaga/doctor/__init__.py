"""Examines an installation before and while it runs: Kafka, the databases, and the services' positions in the logs.

Nothing is written. Each finding says what was looked at; where something is wrong, it says what to do.
"""

from ordersaga.doctor.examining import examine
from ordersaga.doctor.finding import Finding

__all__ = ["Finding", "examine"]
