"""That a service gives back the memory that it needed for a while. In a process of its own: memory is the whole process's."""

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

SCATTERED = """
import ctypes, threading, time, psutil
from ordersaga.cli import serve

def resident_mib():
    return psutil.Process().memory_info().rss / 2**20

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(1_000) for _ in range(200_000)]
for block in blocks:
    ctypes.memset(block, 1, 1_000)
for block in (block for n, block in enumerate(blocks) if n % 1_000):
    libc.free(block)
held_mib = resident_mib()
serve.GIVE_BACK_EVERY_S = 0.1
threading.Thread(target=serve._give_memory_back, daemon=True).start()
limit_s = time.monotonic() + 20
while resident_mib() > held_mib - 100 and time.monotonic() < limit_s:
    time.sleep(0.05)
print(held_mib - resident_mib())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="a C library that has nothing to give back")
def test_memory_that_a_backlog_needed_is_given_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True)
    assert float(done.stdout) >= 100, "of 190 MiB that were freed, with some of it still in use everywhere"
