"""Runs several functions at once in threads, and lets Ctrl-C through."""

import queue
import threading
from collections.abc import Callable, Sequence


def side_by_side(works: Sequence[Callable[[], object]]) -> None:
    """Run each function in a thread of its own; return when the last has ended. The first error is raised at once, and so is Ctrl-C.

    The other threads then go on, and the caller must end their work. They are daemon threads, so none keeps the process alive; the threads
    of a pool would.
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
