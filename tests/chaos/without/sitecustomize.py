"""Found by each process of a service when this folder is on its path: takes the guard out that `make chaos ARGS="--without GUARD"` names."""

import os

from tests.simulation.mutations import BY_NAME

taken_out = BY_NAME[os.environ["CHAOS_WITHOUT"]].made()
taken_out.__enter__()
