"""The benchmarks by name, in the order in which `make bench` runs them."""

from benchmarks import floor, flow, growth, hot, http, latency, payments, whole
from benchmarks.peers import compare, rates
from benchmarks.report import Bench

OURS = (flow.BENCH, whole.BENCH, latency.BENCH, http.BENCH, hot.BENCH, growth.BENCH, payments.BENCH)
BENCHES: dict[str, Bench] = {bench.name: bench for bench in (*OURS, rates.BENCH, compare.BENCH, floor.BENCH)}
