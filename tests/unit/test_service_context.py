"""Services that share a process have metrics of their own, and the process's are told once."""

from contextvars import Context, copy_context

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest

from ordersaga import service_context
from ordersaga.service_context import metric

EVERYBODYS = metric(Counter, "context_test_seen", "For a test", "kind")
OF_STOCK = metric(Gauge, "context_test_pieces", "For a test", service="stock", of_service=True)


def beginning(service: str, tells_process: bool = False) -> Context:
    context = copy_context()
    context.run(service_context.begin, service, tells_process)
    return context


def samples(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_metric_counts_for_the_service_in_whose_context_it_is_used() -> None:
    order, stock = beginning("order"), beginning("stock")
    order.run(lambda: EVERYBODYS.labels("a").inc())
    stock.run(lambda: EVERYBODYS.labels("a").inc(2))
    EVERYBODYS.labels("a").inc(4)
    name, labels = "context_test_seen_total", {"kind": "a"}
    assert order.run(service_context.current).of_process.get_sample_value(name, labels) == 1
    assert stock.run(service_context.current).of_process.get_sample_value(name, labels) == 2
    assert REGISTRY.get_sample_value(name, labels) == 4


def test_a_metric_of_one_service_is_in_no_other_ones_scrape() -> None:
    order, stock = beginning("order"), beginning("stock")
    assert "context_test_pieces 0.0" in samples(stock.run(service_context.current).of_service)
    assert not any(
        each.startswith("context_test_pieces") for each in samples(order.run(service_context.current).of_service)
    )


def test_one_service_tells_of_the_process() -> None:
    first, second = beginning("order", tells_process=True), beginning("stock")
    told = [
        any(each.startswith("python_info") for each in samples(one.run(service_context.current).of_process))
        for one in (first, second)
    ]
    assert told == [True, False]
