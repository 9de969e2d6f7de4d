"""Masks secrets in the output of `settings`, in logs, errors and tracebacks, and over HTTP.

`masked` finds a secret by its position in a text: in front of a URL's host, in a parameter whose name says so, behind `Authorization`. A
driver's error about a URL that it cannot parse (`invalid port number: "..."`) repeats part of a password elsewhere in the text. `remember`
registers the secrets of this process's settings, and `masked` replaces those at any position.
"""

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from ordersaga.said import Saying

MASK: Final = "********"
REMEMBERED_CHARS_MIN: Final = 4
"""A shorter secret would also match inside ordinary words."""

_USER_IS_A_NAME: Final = re.compile(r"(?i)(jdbc:)?postgres")
_SECRET_NAME: Final = re.compile(r"(?i)pass|pwd|secret|token|key|sign|^sig$|auth|cred|session|jwt|^code$")
_NO_SECRET_NAME: Final = re.compile(
    r"(?i)(key|token|session|auth)[-_]?(id|name|type|mode)$|^target_?session|^require_?auth"
)

# In front of the host: everything up to the last @ before a space or the next URL, since a password may contain an @, a / or a quote.
_USERINFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(?:(?![A-Za-z][A-Za-z0-9+.-]*://)\S)*@")
_WHOLE_USERINFO: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://([^:]*):?(.*)@", re.DOTALL)
_PARAMETER: Final = re.compile(r"(?<=[?&;#])([^=&;#?\s\"'<>]{1,200})=([^&;#\s\"'<>]*)")
# `password=...` and `"password": "..."` of a connection string, a dict or a line of JSON.
_NAMED: Final = re.compile(
    r"(?i)(?<![\w%?&;#])(\w{0,40}(?:pass(?:word|wd|phrase|file)?|pwd|secret|secret_?key|api_?key|access_?token)[\"']?\s*[=:]\s*)"
    r"(\"(?:[^\"\\]|\\.)+\"|'(?:[^'\\]|\\.)+'|[^\s\"',;&)}\]]+)"
)
_AUTHORIZATION: Final = re.compile(r"(?i)(authorization[\"']?\s*[:=,]\s*[\"']?(?:basic|bearer)\s+)[^\s\"',]+")
_JWT: Final = re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")

_remembered: set[str] = set()


def masked(text: str) -> str:
    """The text with `********` in place of each secret. A text without a secret is returned unchanged."""
    for secret in sorted(_remembered, key=len, reverse=True):
        text = text.replace(secret, MASK)
    if "://" in text:
        text = _USERINFO.sub(_without_password, text)
    if "=" in text:
        text = _PARAMETER.sub(_without_value, text)
    text = _NAMED.sub(rf"\g<1>{MASK}", text)
    text = _AUTHORIZATION.sub(rf"\g<1>{MASK}", text)
    return _JWT.sub(MASK, text)


def _without_password(found: re.Match[str]) -> str:
    """Keep the user of a database URL, which helps to find errors. Mask the user of a web address too: it may be an API key."""
    scheme = found[1]
    user, colon, _ = found[0].partition("://")[2].removesuffix("@").partition(":")
    if not _USER_IS_A_NAME.match(scheme) or "/" in user or "@" in user:
        return f"{scheme}://{MASK}@"
    return f"{scheme}://{user}{f':{MASK}' if colon else ''}@"


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if found[2] and names_a_secret(found[1]) else found[0]


def remember(secrets: Iterable[str]) -> None:
    """Mask these secrets at any position of a text from now on. Of a URL, only the parts that `masked` hides are secret.

    A password that is also a name in a URL (`postgres`, say) is not registered: masking it would make texts unreadable and hide nothing.
    """
    values = {each for each in secrets if each}
    urls = {each for each in values if "://" in each}
    names = " ".join(masked(url) for url in urls)
    for value in {part for url in urls for part in _parts_hidden_in(url)} | (values - urls):
        if len(value) >= REMEMBERED_CHARS_MIN and value not in names:
            _remembered.update({value, quote(value, safe=""), quote_plus(value)})
            _remembered.add(base64.b64encode(f"{value}:".encode()).decode())


def _parts_hidden_in(url: str) -> set[str]:
    """Passwords, percent-encoded as in the URL, and decoded."""
    parts = set()
    if userinfo := _WHOLE_USERINFO.match(url):
        user, password = userinfo.groups()
        parts |= {password} if _USER_IS_A_NAME.match(url) else {user, password}
        # A library ends the host at one of these characters and reports the rest of the password as an invalid port.
        parts.add(re.split(r"[/?#]", password)[0])
    parts |= {value for name, value in _PARAMETER.findall(url) if names_a_secret(name)}
    return {each for part in parts for each in (part, unquote(part))}


def names_a_secret(name: str) -> bool:
    """Whether a parameter, or an option, with this name has a secret as its value."""
    name = unquote_plus(name)
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET_NAME.search(name)


def masked_sayings(sayings: Iterable[Saying]) -> tuple[Saying, ...]:
    """The sayings without secrets in their values."""
    return tuple(Saying(each.code, {name: masked(value) for name, value in each.values.items()}) for each in sayings)
