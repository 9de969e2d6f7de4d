"""`make audit`: pip-audit asks PyPI which pinned packages have known vulnerabilities. Ends with 0: none has one; 1: some have; 2: PyPI did not say it of all.

pip-audit alone ends with 0 or 1 in all three cases, and with a traceback where no connection is made.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

LOCKED: Final = Path(__file__).parents[2] / "requirements" / "runtime.txt"
AUDIT: Final = [
    str(Path(sys.executable).with_name("pip-audit")),
    "--disable-pip",
    "--require-hashes",
    "--progress-spinner",
    "off",
]
NAMED_MAX: Final = 5


def judged(said: str, error: str) -> tuple[int, list[str]]:
    """The exit code, and what is told of pip-audit's JSON or, without one, of its error."""
    try:
        packages: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        why = error.strip().splitlines()[-1:] or ["it said nothing"]
        return 2, [f"PyPI could not be asked, so nothing is known of any package: {why[0]}"]
    told = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for each in packages
        for vulnerability in each.get("vulns", ())
    ]
    silent = [each for each in packages if "skip_reason" in each]
    if silent:
        names = ", ".join(each["name"] for each in silent[:NAMED_MAX]) + (" ..." if len(silent) > NAMED_MAX else "")
        told.append(
            f"PyPI says nothing of {len(silent)} of {len(packages)} packages, so nothing is known of them ({names}): {silent[0]['skip_reason']}. "
            "Is pypi.org reached itself, and not a mirror that has no /pypi/NAME/VERSION/json?"
        )
    if not told:
        return 0, [f"none of {len(packages)} packages has a known vulnerability"]
    return 1 if any(each.get("vulns") for each in packages) else 2, told


def main() -> int:
    """Ask, and tell."""
    asked = subprocess.run([*AUDIT, "-f", "json", "-r", str(LOCKED)], capture_output=True, text=True, check=False)
    code, told = judged(asked.stdout, asked.stderr)
    print("\n".join(told), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
