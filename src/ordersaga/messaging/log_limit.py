"""Limits how often a lasting trouble is logged."""

import asyncio
from typing import Final

LOG_AGAIN_S: Final = 30.0


class LogLimit:
    """Allows one log line every `LOG_AGAIN_S`."""

    def __init__(self) -> None:
        self._logged_at_s = -LOG_AGAIN_S

    def allows(self) -> bool:
        """Whether to log now; True starts the next wait."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_at_s <= LOG_AGAIN_S:
            return False
        self._logged_at_s = now_s
        return True
