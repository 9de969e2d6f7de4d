"""The pages of the documentation site: `make site` lays them out in a folder, and MkDocs makes the site of it.

Nothing is written twice: the pages are those of `docs`, the sections of the two READMEs, and a reference from the code. Links between them are
turned to where the pages are on the site.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer.main
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from ordersaga.cli.main import commands
from ordersaga.settings import PREFIX, Settings
from tests.docs.site_files import ON_SITE

ROOT: Final = Path(__file__).parents[2]
SECTIONS: Final = {
    "## Start": "index.md",
    "## Place an order": "tutorial.md",
    "## What `verify` says": "tutorial.md",
    "## Commands": "commands.md",
    "## Settings": "settings.md",
    "## Beside a Java service": "java.md",
    "## The runtime by itself": "runtime.md",
    "## Production": "index.md",
    "## What is still missing": "index.md",
    "## More": "index.md",
}
"""Where a section of README.md goes; what stands before the first one goes to `index.md`. README.ko.md has the same sections in the same order."""
COPIED: Final = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK: Final = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
KOREAN: Final = ".ko.md"
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE: Final = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def pages() -> dict[str, str]:
    """The text of each page by its path on the site; `NAME.ko.md` is the Korean one."""
    found = _of_readme(ROOT / "README.md", "") | _of_readme(ROOT / "README.ko.md", ".ko")
    sources = dict.fromkeys(found, ROOT / "README.md")
    for file in sorted((ROOT / "docs").rglob("*.md")):
        name = file.relative_to(ROOT / "docs").as_posix()
        found[name], sources[name] = _of_document(file), file
    for source, name in COPIED.items():
        found[name], sources[name] = (ROOT / source).read_text(), ROOT / source
    found["adr/index.md"] = _decisions()
    found["reference/commands.md"] = _commands()
    found["reference/settings.md"] = _settings()
    places = _places(found)
    return {
        name: _linked(text, sources[name], name, places) if name in sources else text for name, text in found.items()
    }


def lay_out(folder: Path, mermaid: Path) -> None:
    """Write all pages, pictures and the script for the diagrams to a folder, which is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "screenshots", folder / "screenshots")
    (folder / ON_SITE).parent.mkdir()
    shutil.copy(mermaid, folder / ON_SITE)
    for name, text in pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _of_readme(readme: Path, suffix: str) -> dict[str, str]:
    named = _named_in_english(readme, ROOT / "README.md")
    head, *sections = re.split(r"^(?=## )", named, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for text, name in zip([head, *sections], ["index.md", *SECTIONS.values()], strict=True):
        page = name.replace(".md", f"{suffix}.md")
        found[page] = found.get(page, "") + (text if name == "index.md" or page in found else text.removeprefix("#"))
    index = f"index{suffix}.md"
    found[index] = _without_language(found[index])
    return found


def _of_document(file: Path) -> str:
    if file.name.endswith(KOREAN):
        return _without_language(_named_in_english(file, english_of(file)))
    return _without_language(file.read_text())


def english_of(korean: Path) -> Path:
    """The English document of a Korean one, which stands beside it."""
    return korean.with_name(korean.name.removesuffix(KOREAN) + ".md")


def _without_language(text: str) -> str:
    """The text without the line that leads to the other language: the site has a switch for that."""
    return re.sub(r"^\[(한국어|English)\]\(.*\)\n+", "", text, flags=re.MULTILINE)


def _named_in_english(document: Path, english: Path) -> str:
    """The text, whose headings have the anchors of the English one, so that a link leads to both languages."""
    anchors = iter(_anchor(each) for each in headings(english.read_text()))
    text = document.read_text()
    for heading in headings(text):
        anchor = next(anchors)
        text = re.sub(rf"^(#+ {re.escape(heading)})$", rf"\1 {{ #{anchor} }}", text, count=1, flags=re.MULTILINE)
        text = text.replace(f"](#{_anchor(heading)})", f"](#{anchor})")
    return text


def headings(text: str) -> list[str]:
    """The headings of a document, in order."""
    return HEADING.findall(FENCE.sub("", text))


def _places(found: dict[str, str]) -> dict[str, str]:
    """The page of each section of README.md, by its anchor."""
    names = ["index.md", *SECTIONS.values()]
    return {anchor: name for name in names for anchor in re.findall(r"^#.* \{ #(.+) \}$", found[name], re.MULTILINE)}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _linked(text: str, source: Path, name: str, places: dict[str, str]) -> str:
    """The text with its links turned to pages of the site. A file that is no page is named, and is no link."""

    def turned(link: re.Match[str]) -> str:
        path, _, anchor = link["target"].partition("#")
        if ":" in path or (not path and not anchor):
            return link[0]
        if not path and source.name.startswith("README"):
            path = source.name
        if not path:
            return link[0]
        target = (source.parent / path).resolve()
        page = _page_of(target, anchor, places)
        if page is None:
            return link["text"]
        relative = os.path.relpath(page, Path(name).parent)
        return f"{link['image']}[{link['text']}]({relative}{'#' + anchor if anchor else ''})"

    return LINK.sub(turned, text)


def _page_of(target: Path, anchor: str, places: dict[str, str]) -> str | None:
    if target.parent == ROOT and target.name.startswith("README"):
        return places.get(anchor, "index.md")
    if target.parent == ROOT and target.name in COPIED:
        return COPIED[target.name]
    if target == ROOT / "docs" / "adr":
        return "adr/index.md"
    if target.is_relative_to(ROOT / "docs") and target.is_file():
        return target.relative_to(ROOT / "docs").as_posix().replace(KOREAN, ".md")  # MkDocs finds the Korean one
    return None


def _decisions() -> str:
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    rows = (f"- [{file.read_text().splitlines()[0].removeprefix('# ')}]({file.name})" for file in files)
    return "# Decisions\n\nEach with what it was taken for, and what was rejected.\n\n" + "\n".join(rows) + "\n"


# The reference ----------------------------------------------------------------------------------------------------------


def _commands() -> str:
    parts = ["# Every command\n\nWhat `--help` says, written from the code."]
    parts += _command(typer.main.get_command(commands()), "ordersaga")
    return "\n\n".join(parts) + "\n"


def _command(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if name != "ordersaga":
        yield f"{'##' if name.count(' ') == 1 else '###'} `{name}`"
        yield _plain(command.help or "")
    if below is not None:
        for each in below:
            yield from _command(below[each], f"{name} {each}")
        return
    rows = [_parameter(each) for each in command.params if not getattr(each, "hidden", False)]
    if rows:
        yield "| | default | |\n|---|---|---|\n" + "\n".join(rows)


def _parameter(one: Any) -> str:
    option = one.param_type_name == "option"
    name = ", ".join([*one.opts, *one.secondary_opts]) if option else one.name.upper()
    default = "" if one.default is None or callable(one.default) or one.default in (False, ()) else f"`{one.default}`"
    return f"| `{name}` | {'required' if one.required else default} | {_cell(getattr(one, 'help', None) or '')} |"


def _settings() -> str:
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in sorted(Settings.model_fields.items())
    ]
    return (
        "# Every setting\n\nWritten from the code. `ordersaga settings` prints the values that hold where it is called.\n\n"
        "Each may be given as a file, with `_FILE` behind its name.\n\n| variable | default | |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _default(field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default is None or default is PydanticUndefined:
        return "none"
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _plain(text: str) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.replace("\b", "")).replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    lay_out(*map(Path, sys.argv[1:]))
