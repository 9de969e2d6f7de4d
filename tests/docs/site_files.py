"""What a reader's browser loads for the site comes from the site alone, so that it also works where nothing else can be reached.

`make site` calls this twice: to fetch Mermaid, which draws the diagrams, before the site is made, and to look through what was made.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PIN: Final = ROOT / "requirements" / "mermaid.json"
IN_PACKAGE: Final = "package/dist/mermaid.min.js"
ON_SITE: Final = "assets/mermaid.min.js"
LOADING: Final = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
"""What a `link` is for, if the browser asks for its address or connects to its host."""
ELSEWHERE: Final = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_STYLE: Final = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class WrongPackage(Exception):
    """The package that npm has is not the pinned one."""


def fetch(target: Path) -> None:
    """Write Mermaid's script to a file, from the package that is pinned. Raises `WrongPackage`."""
    pin = json.loads(PIN.read_text())
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{pin['package']}@{pin['version']}", "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [package] = Path(folder).glob("*.tgz")
        target.write_bytes(unpacked(package, pin["integrity"]))


def unpacked(package: Path, integrity: str) -> bytes:
    """The script in a package with this integrity. Raises `WrongPackage`."""
    algorithm, _, expected = integrity.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, package.read_bytes()).digest()).decode()
    if found != expected:
        raise WrongPackage(f"{package.name} is {algorithm}-{found}; {PIN.name} asks for {integrity}")
    with tarfile.open(package) as files:
        script = files.extractfile(IN_PACKAGE)
        assert script is not None
        return script.read()


class _Page(HTMLParser):
    """Collects the addresses that a browser loads by itself with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.has_diagrams = False
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        self.has_diagrams |= "mermaid" in given.get("class", "").split()
        if tag == "link" and LOADING & set(given.get("rel", "").lower().split()):
            self.loaded.append(given.get("href", ""))
        if tag != "a" and tag != "link":
            self.loaded += [given[name] for name in ("src", "data", "poster") if name in given]
            self.loaded += [each.split()[0] for each in given.get("srcset", "").split(",") if each.strip()]
        self.loaded += IN_STYLE.findall(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loaded += IN_STYLE.findall(data)


def faults(site: Path) -> Iterator[str]:
    """Each page and style sheet that loads something from another host, and each diagram that nothing would draw."""
    for file in sorted(site.rglob("*.html")):
        page, name = _Page(), file.relative_to(site)
        page.feed(file.read_text())
        yield from (f"{name} loads {each}" for each in page.loaded if ELSEWHERE.match(each))
        scripts = [(file.parent / each).resolve() for each in page.loaded if not ELSEWHERE.match(each)]
        if page.has_diagrams and not ((site / ON_SITE).resolve() in scripts and (site / ON_SITE).is_file()):
            yield f"{name} has a diagram, and does not load {ON_SITE}"
    for file in sorted(site.rglob("*.css")):
        yield from (f"{file.relative_to(site)} loads {each}" for each in IN_STYLE.findall(file.read_text()))


if __name__ == "__main__":
    what, where = sys.argv[1:]
    if what == "fetch":
        try:
            fetch(Path(where))
        except FileNotFoundError:
            sys.exit("make site takes the script for its diagrams from npm, which is not installed here")
        except (WrongPackage, subprocess.CalledProcessError) as error:
            sys.exit(str(error))
    elif found := list(faults(Path(where))):
        sys.exit("\n".join(found))
