"""Checks single settings beyond their type. Each error is a sentence that never repeats a secret."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from ordersaga.contracts.topics import BY_NAME

SERVICES: Final = ("order", "stock", "payment", "delivery")
PARTNERS: Final = SERVICES[1:]
DAYS_MAX: Final = 36_500
MS_MAX: Final = 3_600_000
"""An hour. PostgreSQL takes milliseconds as a 32-bit number."""
SECONDS_MAX: Final = 365 * 86_400
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_PORT: Final = re.compile(r"(?:\w+://)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})")
_GROUP: Final = re.compile(r"[\w.-]{1,249}")


def _start_at(value: str) -> str:
    if value in ("earliest", "latest"):
        return value
    kind, colon, group = value.partition(":")
    if colon and kind == "group":
        if not group.strip():
            raise ValueError("write the name of a consumer group after group:")
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is none of earliest, latest, a time such as 2026-11-24T09:30:00+09:00, and group:NAME"
        ) from error
    if at.tzinfo is None:
        raise ValueError(f"{value} has no time zone; write it like {at.isoformat()}+09:00, or with Z for UTC")
    return value


def _known(names: list[str], known: tuple[str, ...], what: str) -> list[str]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} is no {what}; there are {', '.join(known)}")
    return names


def _partners(names: list[str]) -> list[str]:
    return _known(names, PARTNERS, "partner")


def _services(names: list[str]) -> list[str]:
    return _known(names, SERVICES, "service")


def _type_ids(ids: Mapping[str, str]) -> Mapping[str, str]:
    unknown = [name for name in ids if name not in BY_NAME]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} is no topic of the contract; there are {', '.join(BY_NAME)}")
    empty = [name for name, type_id in ids.items() if not type_id.strip()]
    if empty:
        raise ValueError(f"the type id of {', '.join(empty)} is empty; leave the topic out to send none")
    return ids


def _addresses(value: str) -> str:
    for each in value.split(","):
        found = _HOST_PORT.fullmatch(each.strip())
        if not found or not 1 <= int(found[2]) <= 65_535:
            raise ValueError("write it as host:port, several with commas between, such as kafka-1:9092,kafka-2:9092")
    return value


def _group(value: str) -> str:
    if not _GROUP.fullmatch(value):
        raise ValueError("a group's name has letters, digits, dots, dashes and underscores, and at most 249 of them")
    return value


def postgres_url(value: str) -> str:
    """A URL that asyncpg and libpq read alike. Raises ValueError, which says how to write the URL and never repeats it."""
    wanted = "write postgresql://user@host:5432/database, a password as :password behind the user"
    scheme = value.partition("://")[0].lower() if "://" in value else ""
    if value.lower().startswith("jdbc:"):
        raise ValueError(f"a jdbc: URL is for Java; {wanted}")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError(f"{f'{scheme}:// is no URL of PostgreSQL' if scheme else 'it is no URL'}; {wanted}")
    if re.search(r"\s", value) or "#" in value:
        raise ValueError(f"it has a space or a # in it: in a password write %20 and %23; {wanted}")
    parts = urlsplit(value)
    for each in parts.netloc.rpartition("@")[2].split(","):
        _, colon, port = each.rpartition(":") if not each.endswith("]") else ("", "", "")
        if colon and not (port.isdecimal() and 1 <= int(port) <= 65_535):
            raise ValueError(
                f"the port after a host is no number from 1 to 65535: write a / or @ in a password as %2F or %40; {wanted}"
            )
    if parts.netloc.count("@") > 1:
        raise ValueError(f"it has more than one @: in a password write %40; {wanted}")
    query = parse_qs(parts.query, keep_blank_values=True)
    if not unquote(parts.path).strip("/") and "dbname" not in query:
        raise ValueError(f"the name of the database is missing; {wanted}")
    _said_once(parts, query)
    for name in ("sslrootcert", "sslcert", "sslkey"):
        for path in query.get(name, []):
            if path != "system":
                _file(path)
    return value


def _said_once(parts: SplitResult, query: Mapping[str, list[str]]) -> None:
    """Refuse a name that stands both before and after the `?`: asyncpg takes the first value, libpq the second."""
    in_front = {
        "user": parts.username,
        "password": parts.password,
        "host": parts.netloc.rpartition("@")[2].split(":")[0],
        "port": re.search(r":\d+(,|$)", parts.netloc.rpartition("@")[2]),
        "dbname": parts.path.strip("/"),
    }
    twice = [name for name, value in in_front.items() if value and name in query]
    twice += [name for name, values in query.items() if len(values) > 1 and name not in twice]
    if twice:
        raise ValueError(
            f"it has {' and '.join(twice)} twice, and asyncpg and libpq would use different values; leave out what follows the ?"
        )


def _secret_postgres_url(value: SecretStr) -> SecretStr:
    postgres_url(value.get_secret_value())
    return value


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", value):
        raise ValueError("it is no web address; write http://host:port or https://host")
    return value


def _prefixes(values: list[str]) -> list[str]:
    if any(not each.strip() for each in values):
        raise ValueError("an empty prefix fits every zipcode")
    return values


def _algorithms(values: list[str]) -> list[str]:
    if not values or any(each.lower() == "none" for each in values):
        raise ValueError("name at least one algorithm that signs, such as RS256")
    return values


def _file(value: str) -> str:
    try:
        with open(value, "rb"):  # noqa: PTH123  # Path.open says the same; a folder and a missing right are errors of this call
            return value
    except OSError as error:
        raise ValueError(f"the file {value} cannot be read: {error.strerror}") from error


StartAt = Annotated[str, AfterValidator(_start_at)]
Services = Annotated[list[str], AfterValidator(_services)]
Partners = Annotated[list[str], AfterValidator(_partners)]


def network(value: str) -> Network:
    """A range of addresses, or one address, as a setting names it."""
    return ipaddress.ip_network(value.strip())


def _networks(values: list[str]) -> list[str]:
    for each in values:
        try:
            network(each)
        except ValueError as error:
            raise ValueError(
                f"{each!r} is no range of addresses; write 10.0.3.0/24, or one address such as 10.0.3.7"
            ) from error
    return values


TypeIds = Annotated[dict[str, str], AfterValidator(_type_ids)]
Addresses = Annotated[str, AfterValidator(_addresses)]
Group = Annotated[str, AfterValidator(_group)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_secret_postgres_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
ZipcodePrefixes = Annotated[list[str], AfterValidator(_prefixes)]
JwtAlgorithms = Annotated[list[str], AfterValidator(_algorithms)]
ReadableFile = Annotated[str, AfterValidator(_file)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Networks = Annotated[list[str], AfterValidator(_networks)]
