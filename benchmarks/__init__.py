"""Benchmarks: `make bench`, `make bench ARGS="flow --orders 20000"`. Start with `flow.py`; `measure.py` counts CPU and statements.

Every figure is taken with fsync on and acks=all, load comes from outside the services, and the audit runs afterwards.
"""
