"""The site loads nothing from another host: `make site` looks through what it has made, and fails where a browser would ask elsewhere."""

import base64
import hashlib
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.docs.site_files import IN_PACKAGE, ON_SITE, PIN, ROOT, WrongPackage, faults, unpacked

MERMAID = '<pre class="mermaid"><code>graph TD</code></pre>'


def site(folder: Path, page: str, style: str = "") -> Path:
    (folder / "saga").mkdir()
    (folder / "saga" / "index.html").write_text(page)
    (folder / "main.css").write_text(style)
    (folder / ON_SITE).parent.mkdir()
    (folder / ON_SITE).write_text("")
    return folder


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<script src="//cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example/a.css">',
        '<link rel="preconnect" href="https://fonts.example" crossorigin>',
        '<img alt="" src="HTTP://pictures.example/a.png">',
        '<img alt="" src="a.png" srcset="a.png 1x, https://pictures.example/a.png 2x">',
        '<p style="background: url(https://pictures.example/a.png)">',
        '<style>@import "https://fonts.example/a.css";</style>',
        '<iframe src="https://videos.example"></iframe>',
    ],
)
def test_what_a_page_loads_from_another_host_is_a_fault(tmp_path: Path, page: str) -> None:
    [fault] = faults(site(tmp_path, page))
    assert fault.startswith("saga/index.html loads ") and ".example" in fault


def test_what_a_style_sheet_loads_from_another_host_is_a_fault(tmp_path: Path) -> None:
    style = "@font-face { src: url('https://fonts.example/a.woff2') } p { background: url(data:image/png;base64,AA==) }"
    assert list(faults(site(tmp_path, "", style))) == ["main.css loads https://fonts.example/a.woff2"]


def test_links_and_files_of_the_site_are_none(tmp_path: Path) -> None:
    page = f"""<link rel="canonical" href="https://docs.example"><link rel="stylesheet" href="../main.css">
        <a href="https://kafka.apache.org">Kafka</a><img alt="" src="../a.png">{MERMAID}<script src="../{ON_SITE}"></script>"""
    assert not list(faults(site(tmp_path, page)))


@pytest.mark.parametrize("script", ["", f'<script src="{ON_SITE}"></script>'])
def test_a_diagram_without_the_script_that_draws_it_is_a_fault(tmp_path: Path, script: str) -> None:
    assert list(faults(site(tmp_path, MERMAID + script))) == [
        f"saga/index.html has a diagram, and does not load {ON_SITE}"
    ]


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    package, script = tmp_path / "mermaid.tgz", tmp_path / "script"
    script.write_text("draw()")
    with tarfile.open(package, "w:gz") as files:
        files.add(script, IN_PACKAGE)
    own = "sha512-" + base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    assert unpacked(package, own) == b"draw()"
    with pytest.raises(WrongPackage, match=re.escape(own)):
        unpacked(package, json.loads(PIN.read_text())["integrity"])


def test_the_pages_take_their_script_from_where_the_site_has_it() -> None:
    assert f"'{ON_SITE}' | url" in (ROOT / "tests/docs/site_theme/main.html").read_text()
