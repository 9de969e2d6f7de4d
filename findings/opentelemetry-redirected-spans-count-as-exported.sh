#!/usr/bin/env bash
# Software: opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http 1.45.2 (opentelemetry-exporter-http-transport 0.66b2).
#
# Behaviour: the exporter does not follow redirects, and takes an answer with a status of 300 to 399 for success. Behind
# an address that redirects, as one that sends http to https does, every span is lost: export() returns SUCCESS, and
# OpenTelemetry logs nothing at any level.
#
# Expected: the redirect is followed, since 308 asks for a POST with the same body elsewhere, or it is a failure with a
# line in the log, as 404 is. Version 1.39.1 followed a 308, and told of a 302.
#
# Seen:
#   status 200: SUCCESS, log lines: 0, spans that have arrived: 1
#   status 404: FAILURE, log lines: 1, spans that have arrived: 0
#   status 308: SUCCESS, log lines: 0, spans that have arrived: 0
#   status 302: SUCCESS, log lines: 0, spans that have arrived: 0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2 \
  opentelemetry-exporter-http-transport==0.66b2 || exit 2

unset "${!OTEL_@}"
"$folder/venv/bin/python" - <<'PY'
import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

arrived = []
lines = []


class Collector(BaseHTTPRequestHandler):
    """Answers with the status that is its path's first part; 200 takes spans, and a redirect leads there."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.split("/")[1])
        if status == 200:
            arrived.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/200/v1/traces")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Results(OTLPSpanExporter):
    def export(self, spans):
        self.result = super().export(spans)
        return self.result


class Lines(logging.Handler):
    def emit(self, record):
        if record.name.startswith("opentelemetry"):
            lines.append(record)


logging.basicConfig(level=logging.DEBUG, handlers=[Lines()])
server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for status in (200, 404, 308, 302):
    arrived.clear()
    lines.clear()
    exporter = Results(endpoint=f"http://127.0.0.1:{server.server_port}/{status}/v1/traces")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("a").start_span("a").end()
    seen[status] = exporter.result.name, len(lines), len(arrived)
    provider.shutdown()
    result, logged, there = seen[status]
    print(f"status {status}: {result}, log lines: {logged}, spans that have arrived: {there}")
server.shutdown()
sys.exit(
    seen != {200: ("SUCCESS", 0, 1), 404: ("FAILURE", 1, 0), 308: ("SUCCESS", 0, 0), 302: ("SUCCESS", 0, 0)}
)
PY
