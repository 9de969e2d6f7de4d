"""The benchmarks by name, in the order in which `make bench` runs them."""

from benchmarks import flow, growth, hot, http, latency, payments, whole
from benchmarks.report import Bench

BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (flow.BENCH, whole.BENCH, latency.BENCH, http.BENCH, hot.BENCH, growth.BENCH, payments.BENCH)
}
