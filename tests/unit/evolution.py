"""The rules of docs/evolution.md: what in a contract breaks readers or writers of a released one, a sentence for each.

Both directions count. A reader of the old release gets records of the new one while services are replaced, and a partner writes the old
ones for years.
"""

from collections.abc import Iterator
from typing import Any

from ordersaga.contracts.headers import LETTER, RECORD
from ordersaga.contracts.schemas import schemas
from ordersaga.contracts.topics import CONTRACT_VERSION, TOPICS

Contract = dict[str, Any]
BOUNDS = {"minimum": 1, "minLength": 1, "minItems": 1, "maximum": -1, "maxLength": -1, "maxItems": -1}
"""Each bound, and the sign of a change that narrows."""


def contract() -> Contract:
    """The contract as it is now: plain JSON values, to be kept with a release."""
    return {
        "version": CONTRACT_VERSION,
        "topics": {
            topic.name: {
                "message": topic.message.__name__,
                "key": topic.key,
                "producer": topic.producer,
                "consumers": list(topic.consumers),
                "kept_days": topic.kept_days,
                "table": topic.table,
                "dead_letters": topic.dead_letters,
            }
            for topic in TOPICS
        },
        "headers": sorted(RECORD | LETTER),
        "schemas": {name: _undocumented(schema) for name, schema in schemas().items()},
    }


def _undocumented(schema: Any) -> Any:
    """A schema without its words for people: their change breaks nobody."""
    if isinstance(schema, dict):
        return {
            key: _undocumented(each) for key, each in schema.items() if key not in ("description", "examples", "title")
        }
    return [_undocumented(each) for each in schema] if isinstance(schema, list) else schema


def broken(old: Contract, new: Contract) -> Iterator[str]:
    """What breaks somebody who knows the old contract alone."""
    for name, topic in old["topics"].items():
        yield from _topic(name, topic, new["topics"].get(name))
    for name in set(old["headers"]) - set(new["headers"]):
        yield f"the header {name} is gone: partners read it"
    for name, schema in old["schemas"].items():
        if name in new["schemas"]:
            yield from _message(name, schema, new["schemas"][name])


def _topic(name: str, old: Contract, new: Contract | None) -> Iterator[str]:
    if new is None:
        yield f"the topic {name} is gone: partners write and read it. A topic is never removed or renamed"
        return
    for part in ("message", "key", "producer", "table", "dead_letters"):
        if old[part] != new[part]:
            yield f"{name}: its {part} was {old[part]} and is {new[part]}. A new meaning needs a new topic"
    for role in set(old["consumers"]) - set(new["consumers"]):
        yield f"{name}: {role} reads it no more, so what partners write there has no effect"
    if (old["kept_days"] is None) != (new["kept_days"] is None):
        yield f"{name}: it was compacted before or is now. A new meaning needs a new topic"
    elif old["kept_days"] is not None and new["kept_days"] < old["kept_days"]:
        yield f"{name}: kept for {new['kept_days']} days instead of {old['kept_days']}, so a reader that is down loses records"


def _message(name: str, old: Contract, new: Contract) -> Iterator[str]:
    before, after = old["properties"], new["properties"]
    for field in before:
        if field not in after:
            yield f"{name}.{field} is gone: old readers need it. A field is never removed or renamed"
    kept = [field for field in after if field in before]
    if kept != [field for field in before if field in after] or list(after)[: len(kept)] != kept:
        yield f"{name}: fields have another order. New fields stand at the end, as the guide's bytes are fixed"
    for field in after:
        was, is_ = field in old["required"], field in new["required"]
        if field not in before:
            if is_:
                yield f"{name}.{field} is new and required: old writers do not send it. A new field has the default None"
        elif was and not is_:
            yield f"{name}.{field} may be null now: old readers refuse that"
        elif is_ and not was:
            yield f"{name}.{field} is required now: old writers leave it out"
        if field in before:
            yield from _values(f"{name}.{field}", _not_null(before[field]), _not_null(after[field]))


def _not_null(said: Contract) -> Contract:
    kinds = said.get("type")
    return {**said, "type": kinds[0]} if isinstance(kinds, list) else said


def _values(what: str, old: Contract, new: Contract) -> Iterator[str]:
    for word in set(new.get("enum", ())) - set(old.get("enum", ())):
        yield f"{what} may be {word} now: old readers refuse that. A new word needs a new field or topic"
    for word in set(old.get("enum", ())) - set(new.get("enum", ())):
        yield f"{what} may not be {word} any more: old writers send it"
    for bound, sign in BOUNDS.items():
        was, is_ = old.get(bound), new.get(bound)
        if was == is_:
            continue
        if was is None or (is_ is not None and (is_ - was) * sign > 0):
            yield f"{what}: {bound} is {is_} instead of {was}: old writers send what is refused now"
        else:
            yield f"{what}: {bound} is {is_} instead of {was}: old readers may refuse what is written now"
    others = {*old, *new} - BOUNDS.keys() - {"enum", "default"}
    for key in sorted(others):
        if old.get(key) != new.get(key):
            yield f"{what}: its {key} was {old.get(key)} and is {new.get(key)}. A field never changes its type"
