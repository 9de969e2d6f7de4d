#!/usr/bin/env bash
# Software: prometheus_client 0.26.0.
#
# Behaviour: the registry's collect() gives new Metric objects at each call, except for python_info: the platform's
# collector makes that object once and hands it out each time. A collector that renames or labels what another registry
# collects, as one does to merge several processes' metrics, changes python_info for good, and changes it again at the
# next scrape.
#
# Expected: what collect() gives belongs to its caller, as it does with every other collector of the default registry
# and with each metric of one's own.
#
# Seen:
#   scrape 1: names as wanted: all
#   scrape 2: names as wanted: all but shop_shop_python_info
#   scrape 3: names as wanted: all but shop_shop_shop_python_info
#   the registry itself has python_info: False
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client==0.26.0 || exit 2

"$folder/venv/bin/python" - <<'PY'
import sys

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Info

Counter("orders", "Orders").inc()
Histogram("seconds", "Seconds").observe(1)
Info("build", "Build").info({"version": "1"})
BEFORE = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}


class OfTheShop:
    """The default registry's metrics with a prefix."""

    def collect(self):
        for metric in REGISTRY.collect():
            metric.name = f"shop_{metric.name}"
            metric.samples = [each._replace(name=f"shop_{each.name}") for each in metric.samples]
            yield metric


registry = CollectorRegistry()
registry.register(OfTheShop())
wanted = {f"shop_{name}" for name in BEFORE}
others = []
for scrape in (1, 2, 3):
    names = {sample.name for metric in registry.collect() for sample in metric.samples}
    others.append(sorted(names - wanted))
    print(f"scrape {scrape}: names as wanted: all" + (f" but {', '.join(others[-1])}" if others[-1] else ""))
still = "python_info" in {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
print(f"the registry itself has python_info: {still}")
sys.exit(others != [[], ["shop_shop_python_info"], ["shop_shop_shop_python_info"]] or still)
PY
