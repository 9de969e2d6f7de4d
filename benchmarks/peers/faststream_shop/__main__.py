"""One service as one process: `python -m benchmarks.peers.faststream_shop order|stock|delivery`."""

import importlib
import sys

import uvloop

from benchmarks.peers.faststream_shop.shop import application

importlib.import_module(f"benchmarks.peers.faststream_shop.{sys.argv[1]}")  # declares its subscribers
uvloop.run(application().run())
