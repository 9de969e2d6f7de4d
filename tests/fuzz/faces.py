"""Schemathesis over a service's OpenAPI document: valid and odd requests, each answer compared with what the document says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.fuzz.world import Served, World, document, headers

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
"""Not `positive_data_acceptance`: a request that fits the document may still be refused for what it says, such as a cursor of another list."""
CONFIG: Final = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 422]
"""
STREAM: Final = "streamEvents"
"""An answer that does not end."""
ANSWER_S: Final = 20.0


class Outcome(Struct, frozen=True):
    """What became of one service's requests by one role. `report`: what Schemathesis says of failures, with the requests."""

    service: Served
    role: str | None
    is_right: bool
    report: str


def fuzz(
    world: World, service: Served, role: str | None, folder: Path, *, phases: str, examples: int, seed: int
) -> Outcome:
    """Call every operation of a service as one role."""
    here = folder / f"{service}-{role}"
    here.mkdir()
    (here / "openapi.json").write_text(json.dumps(document(world, service)))
    (here / "schemathesis.toml").write_text(CONFIG)
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run"]
    command += ["openapi.json", "--url", world.system.urls[service], "--checks", ",".join(CHECKS)]
    command += ["--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--no-color"]
    command += ["--request-timeout", str(ANSWER_S), "--continue-on-failure", "--generation-database", "none"]
    command += ["--exclude-operation-id", STREAM] if service == "order" else []
    command += [part for name, value in headers(role).items() for part in ("--header", f"{name}: {value}")]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    lines = [line[:600] for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return Outcome(service, role, done.returncode == 0, "\n".join(lines))
