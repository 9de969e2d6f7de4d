"""An operator's edit of a dead letter's value: a whole new value, single fields, or a text editor."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from ordersaga.cli.operating import out
from ordersaga.messaging.acts import NotPossible
from ordersaga.operations.letters import pretty


class Change(Struct, frozen=True):
    """The options of `dead-letters edit` that change a value."""

    value: str | None
    file: Path | None
    fields: Sequence[str]

    def of(self, before: bytes | None) -> bytes:
        """The new value. Without options the user's editor is opened. Raises `NotPossible`."""
        given = [self.value is not None, self.file is not None, bool(self.fields)]
        if sum(given) > 1:
            raise NotPossible("give one of --value, --value-file and --set")
        if self.value is not None:
            return self.value.encode()
        if self.file is not None:
            return self.file.read_bytes()
        if self.fields:
            return self._with_fields(before)
        if not out.is_terminal:
            raise NotPossible("give the new value: --value, --value-file or --set")
        return _in_editor(pretty(before)).strip().encode()

    def _with_fields(self, before: bytes | None) -> bytes:
        try:
            message = json.loads(before or b"")
        except ValueError as error:
            raise NotPossible("the value is not JSON, so a field cannot be set; use --value or --value-file") from error
        if not isinstance(message, dict):
            raise NotPossible("the value is no JSON object, so a field cannot be set; use --value or --value-file")
        for each in self.fields:
            name, equals, text = each.partition("=")
            if not equals:
                raise NotPossible(f"--set {each}: write it as name=value")
            try:
                message[name] = json.loads(text)
            except ValueError:
                message[name] = text
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _in_editor(text: str) -> str:
    """The text after the user has edited it. Raises `NotPossible` if the editor ends with an error."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "letter.json"
        path.write_text(text)
        try:
            subprocess.run([*command, str(path)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotPossible(f"the editor ended with an error, so nothing was changed: {error}") from error
        return path.read_text()
