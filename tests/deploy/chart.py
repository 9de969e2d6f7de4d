"""`make check-deploy`: the chart is linted, rendered with each of its examples, and judged by Helm and kubeconform, built from pinned Go modules.

Kubernetes' schemas come from the package `kubernetes-validate`, those of KEDA and of the Prometheus operator from their own modules. Rendered manifests are kept in
`deploy/rendered`: `test_manifests.py`, which needs no tools, runs what they say.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "ordersaga"
RENDERED: Final = ROOT / "deploy" / "rendered"
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
BUILD: Final = ROOT / "build" / "deploy"
TOOLS: Final = {
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.2",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
CRDS: Final = {
    "github.com/kedacore/keda/v2@v2.21.0": ("config/crd/bases/keda.sh_*.yaml",),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/*_prometheusrules.yaml",
        "example/prometheus-operator-crd/*_servicemonitors.yaml",
    ),
}
"""Modules with the schemas of kinds that are not Kubernetes' own, and where."""
KUBERNETES: Final = ("1.30.0", "1.37.0")
"""The oldest and the newest that the manifests are judged for."""
KIND: Final = "{{.ResourceKind}}{{.KindSuffix}}.json"
MSK: Final = "msk.yaml"

REFUSED: Final[dict[tuple[str, ...], str]] = {
    ("kafka.bootstrapServers=",): "/kafka/bootstrapServers",
    ("kafka.bootstrapServers=kafka",): "/kafka/bootstrapServers",
    ("kafka.securityProtocol=TLS",): "/kafka/securityProtocol",
    ("kafka.credentials.secret=",): "kafka.credentials.secret",
    ("kafka.securityProtocol=PLAINTEXT",): "nobody signs in with PLAINTEXT",
    ("kafka.securityProtocol=PLAINTEXT", "kafka.credentials.secret=", "kafka.ca.secret=ca"): "kafka.ca.secret",
    ("kafka.partition=6",): "additional properties 'partition'",
    ("postgresql.secret=",): "/postgresql/secret",
    ("postgresql.auditSecret=",): "postgresql.auditSecret",
    ("gateway.url=http://gateway",): "/gateway/url",
    ("gateway.url=",): "gateway.url and gateway.secret",
    ("image.tag=latest",): "/image/tag",
    ("settings.ORDERSAGA_GATEWAY_SECRET_KEY=live_sk",): "ORDERSAGA_GATEWAY_SECRET_KEY",
    ("settings.BATCH_MAX=1",): "BATCH_MAX",
    ("settings.ORDERSAGA_JWT_JWKS_URL=",): "nobody could be told apart",
    (
        "settings.ORDERSAGA_TRUST_GATEWAY_HEADERS=true",
    ): "settings.ORDERSAGA_TRUST_GATEWAY_ADDRESSES: name the addresses",
    ("proxyAddresses=null",): "proxyAddresses: all visitors behind",
    ("proxyAddresses={10.42.0.1}",): "/proxyAddresses/0",
    ("extraEnv={OTEL_SERVICE_NAME}",): "/extraEnv/0",
    ("services.web.sessionSecret=",): "services.web.sessionSecret",
    ("services.web.settings.ORDERSAGA_WEB_SIGN_IN=token",): "services.web.oidcSecret: it is used with",
    (
        "services.web.settings.ORDERSAGA_OIDC_ISSUER=",
    ): "services.web.settings.ORDERSAGA_OIDC_ISSUER: ORDERSAGA_WEB_SIGN_IN is oidc",
    (
        "services.web.settings.ORDERSAGA_WEB_URL=",
    ): "services.web.settings.ORDERSAGA_WEB_URL: ORDERSAGA_WEB_SIGN_IN is oidc",
    ("services.web.oidcSecret=A_secret",): "/services/web/oidcSecret",
    ("services.stock.enabled=false",): "services.web.settings.ORDERSAGA_STOCK_URL",
    ("services.stock.scaling.max=13",): "more than the 12 partitions",
    ("services.order.workers=3",): "6 replicas of 3 workers are more than the 12 partitions",
    ("services.stock.scaling.min=0",): "/services/stock/scaling/min",
    ("services.stock.scaling.min=5", "services.stock.scaling.max=4"): "min is 5, and max 4",
    ("prometheusRule=true",): "set serviceMonitor to true",
    ("monitoringLabels.release=1",): "/monitoringLabels/release",
    ("operationsPort=8081",): "/operationsPort",
    ("foreignPartners={warehouse}",): "/foreignPartners/0",
}
"""Changes of the example for MSK that cannot work, and what the refusal names."""


def examples() -> list[Path]:
    """The sets of values that the chart comes with."""
    return sorted((CHART / "examples").glob("*.yaml"))


def fingerprint() -> str:
    """Changes with each change of the chart, so that rendered manifests of another one are noticed."""
    found = hashlib.sha256()
    for file in sorted(each for each in CHART.rglob("*") if each.is_file()):
        found.update(file.relative_to(CHART).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def head() -> str:
    """The first line of each rendered manifest."""
    return f"# Written by `make check-deploy` from the chart {fingerprint()[:16]}\n"


def main() -> None:
    """Judge the chart; write the rendered manifests; end with 1 if anything is wrong."""
    if shutil.which("go") is None:
        sys.exit("make check-deploy builds Helm and kubeconform with Go, which is not installed here")
    _build_tools()
    schemas = _schemas()
    wrong = []
    RENDERED.mkdir(exist_ok=True)
    shutil.copy(ALERTS, CHART)  # a chart has no files of outside
    for values in examples():
        print(f"{values.name}:", flush=True)
        wrong += _failed("helm", "lint", "--strict", "--quiet", CHART, "-f", values)
        rendered = _run("helm", "template", "shop", CHART, "-f", values)
        if rendered.returncode:
            wrong.append(rendered.stderr)
            continue
        target = RENDERED / values.name
        target.write_text(head() + rendered.stdout)
        for version in KUBERNETES:
            places = [f"-schema-location={each}" for each in schemas]
            wrong += _failed("kubeconform", "-strict", "-summary", f"-kubernetes-version={version}", *places, target)
    for changes, reason in REFUSED.items():
        flags = [part for each in changes for part in ("--set", each)]
        refused = _run("helm", "template", "shop", CHART, "-f", CHART / "examples" / MSK, *flags)
        if not refused.returncode or reason not in refused.stderr:
            wrong.append(
                f"{' '.join(changes)} is to be refused with {reason!r}, but: {refused.stderr or 'it is taken'}"
            )
    print(f"{len(REFUSED)} sets of values that cannot work are refused")
    if wrong:
        sys.exit("\n".join(wrong))


def _build_tools() -> None:
    environment = os.environ | {"GOBIN": str(BUILD / "bin")}
    for name, module in TOOLS.items():
        mark = BUILD / "bin" / f"{name}.of"
        if not mark.exists() or mark.read_text() != module:
            print(f"building {module}, which takes minutes", flush=True)
            subprocess.run(["go", "install", module], env=environment, check=True)
            mark.write_text(module)


def _schemas() -> list[str]:
    """Where kubeconform finds the schema of a kind: Kubernetes' own, and those of the operators that we know.

    Kubernetes' have an address as their id, and their references are relative to it. Both are made to mean the files beside them: kubeconform
    would ask the network, and say of each kind that it finds no schema.
    """

    import kubernetes_validate

    shipped = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    for version in KUBERNETES:
        folder = BUILD / f"v{version}"
        folder.mkdir(parents=True, exist_ok=True)
        for each in (shipped / f"v{version}-local-strict").glob("*.json"):
            schema = json.loads(each.read_text().replace('"/api/_definitions.json', '"_definitions.json'))
            schema.pop("$id", None)
            (folder / each.name).write_text(json.dumps(schema))
    others = BUILD / "others"
    others.mkdir(exist_ok=True)
    for module, files in CRDS.items():
        answer = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
        module_files = Path(json.loads(answer.stdout)["Dir"])
        for name, schema in _of_crds(each for pattern in files for each in module_files.glob(pattern)):
            (others / name).write_text(json.dumps(schema))
    return [f"{BUILD}/{{{{.NormalizedKubernetesVersion}}}}/{KIND}", f"{others}/{KIND}"]


def _of_crds(files: Iterable[Path]) -> Iterator[tuple[str, Any]]:
    for file in files:
        crd = yaml.safe_load(file.read_text())["spec"]
        for version in crd["versions"]:
            kind, group = crd["names"]["kind"].lower(), crd["group"].split(".")[0]
            yield f"{kind}-{group}-{version['name']}.json", _closed(version["schema"]["openAPIV3Schema"])


def _closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _failed(tool: str, *arguments: object) -> list[str]:
    done = _run(tool, *arguments)
    print(f"  {tool}: {(done.stdout.strip() or 'ok').splitlines()[-1]}", flush=True)
    return [done.stdout + done.stderr] if done.returncode else []


def _run(tool: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BUILD / "bin" / tool, *map(str, arguments)], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
