"""Several things at once, for whoever may be interrupted while they are under way."""

import queue
import threading
from collections.abc import Callable, Sequence


def side_by_side(works: Sequence[Callable[[], object]]) -> None:
    """Do all, each in a thread of its own, and return when the last has ended. The first error is raised at once, and so is Ctrl-C.

    What is still under way then goes on; ending it is the caller's part, and no thread keeps the process alive. A pool's threads would be
    waited for.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def do(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    for work in works:
        threading.Thread(target=do, args=(work,), daemon=True).start()
    for _ in works:
        error = ended.get()
        if error is not None:
            raise error
