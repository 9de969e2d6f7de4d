#!/usr/bin/env bash
# Software: opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http 1.45.2.
#
# Behaviour: force_flush(1000) of a BatchSpanProcessor whose collector takes connections and never answers
# returns after 10 s, the exporter's own time limit, and returns True, although the span was dropped. The
# argument is in the signature and in the specification, and is not looked at; shutdown() of the processor
# takes no argument and waits for up to 30 s.
#
# Expected: False after a second. A process that flushes at its end with a limit of a second, as one does
# before a container is killed, stands still for ten, and believes that its last spans have arrived.
#
# Seen:
#   force_flush(1000): True after 10.0 s, spans that the collector has taken: 0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2 || exit 2

"$folder/venv/bin/python" - <<'PY'
import logging
import socket
import sys
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logging.disable()
silent = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=url))
provider = TracerProvider()
provider.add_span_processor(processor)
provider.get_tracer("a").start_span("a").end()
began = time.monotonic()
flushed = processor.force_flush(1000)
lasted = time.monotonic() - began
print(f"force_flush(1000): {flushed} after {lasted:.1f} s, spans that the collector has taken: 0")
sys.exit(not flushed or lasted < 5)
PY
