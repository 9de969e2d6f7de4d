"""What layouts would do, by simulation from measured costs. `costs.toml` has the costs with their sources, `simulation.py` the turns, cores, disks
and locks, `layouts.py` the layouts and their tables. Nothing here is measured on the layouts themselves.
"""
