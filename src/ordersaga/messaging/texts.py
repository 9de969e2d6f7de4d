"""Makes text from outside storable in PostgreSQL, and bytes readable for a person."""


def storable(text: str, chars_max: int | None = None) -> str:
    """The text with NUL and lone surrogates escaped, which PostgreSQL refuses, cut to `chars_max`."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")[:chars_max]


def readable(value: bytes | None) -> str | None:
    """Bytes as text; bytes that are not UTF-8 are escaped."""
    return None if value is None else value.decode(errors="backslashreplace")
