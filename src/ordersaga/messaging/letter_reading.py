"""Reads the dead letters of one service: lists and counts them, reads their contents and history, and says what became of a replay."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ordersaga.messaging import acts, dead_letters
from ordersaga.messaging.acts import Act
from ordersaga.messaging.database import Connection, Pool, planned_anew
from ordersaga.messaging.letters import CauseCount, Content, Letter, LetterFilter, Repeats, ReplayState, letter_of
from ordersaga.messaging.queries import queries
from ordersaga.said import say
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)

PUBLISHED: Final = say(
    "result.published", "its partner has the record again; if it fails there, the next import says so"
)


class LetterReader:
    """The dead letters in the database of one service."""

    def __init__(self, settings: Settings, service: ServiceName, pool: Pool, clock: Callable[[], datetime]) -> None:
        self.settings: Final = settings
        self.service: Final[ServiceName] = service
        self.pool: Final = pool
        self.clock: Final = clock

    async def find(self, wanted: LetterFilter, rows_max: int | None = None) -> list[Letter]:
        """The letters that match, the latest first."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            async with planned_anew(db):
                rows = await sql.dead_letters(db, **wanted.conditions(), rows_max=rows_max)
        return list(map(letter_of, rows))

    async def by_ids(self, ids: Sequence[UUID]) -> dict[UUID, Letter]:
        """These letters, in the order of the ids; an id that no letter has is left out."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            found = {row["id"]: letter_of(row) for row in await sql.dead_letters_by_id(db, ids=list(ids))}
        return {each: found[each] for each in ids if each in found}

    async def causes(self, wanted: LetterFilter) -> list[CauseCount]:
        """How many letters match, by topic, cause and status."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            conditions = wanted.conditions()
            del conditions["after_at"], conditions["after_id"], conditions["latest_of_order"]
            async with planned_anew(db):
                return [CauseCount(*row.values()) for row in await sql.dead_letter_causes(db, **conditions)]

    async def repeats(self, ids: Sequence[UUID]) -> dict[UUID, Repeats]:
        """How often the orders of these letters have failed so, each letter counted. A letter without an order is left out."""
        async with self.pool.acquire() as db:
            rows = await sql.dead_letter_repeats(db, ids=list(ids))
        return {row["id"]: Repeats(row["letters"], row["first_at"]) for row in rows}

    async def contents(self, ids: Sequence[UUID]) -> dict[UUID, Content]:
        """The contents of letters, by id."""
        async with self.pool.acquire() as db:
            return await contents_of(db, ids)

    async def history(self, letter: Letter) -> tuple[list[Letter], list[Act]]:
        """All letters of one record, in order, and the acts on them."""
        async with self.pool.acquire() as db:
            chain = list(map(letter_of, await sql.dead_letter_chain(db, id=letter.id)))
            return chain, await acts.about(db, [*(each.id for each in chain), letter.coordinates])

    async def replay_states(self, ids: Sequence[UUID]) -> dict[UUID, ReplayState]:
        """The results of replayed letters, by id."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            return {row["id"]: self._replay_state(row) for row in await sql.replay_results(db, ids=list(ids))}

    def _replay_state(self, row: Any) -> ReplayState:
        if row["next_id"] is not None:
            return ReplayState(
                "failed again",
                say(
                    "result.letter_again",
                    "{cause}: {reason}; the record is dead letter {letter} now",
                    cause=row["next_cause"],
                    reason=row["next_reason"],
                    letter=row["next_id"],
                ),
            )
        if row["status"] == "PUBLISHED":
            return ReplayState("published", PUBLISHED)
        if row["status"] == "RESOLVED":
            return ReplayState("resolved", "")
        if row["status"] != "REPLAYED":
            return ReplayState("failed again", say("result.status", "the letter is {status} now", status=row["status"]))
        if row["attempts"] is None:
            return ReplayState(None, say("result.not_published", "the record is not published yet"))
        if row["attempts"] > row["attempts_before"]:
            tries = f"{row['attempts'] - row['attempts_before']} of {self.settings.park_attempts_max}"
            why = say("result.error", "{cause}: {reason}", cause=row["parked_cause"], reason=row["parked_reason"])
            if row["due_at"]:
                at = f"{row['due_at']:%H:%M:%S}"
                why += say("result.next_try", "; try {tries}, the next at {time}", tries=tries, time=at)
            return ReplayState("failed again", why)
        if row["due_at"] is None:
            return ReplayState(
                None,
                say(
                    "result.behind", "the record waits behind an earlier one of its order; see `ordersaga parked list`"
                ),
                behind=True,
            )
        return ReplayState(
            None,
            say(
                "result.untried",
                "the record has not been tried yet; does `{command}` run?",
                command=f"ordersaga serve {self.service}",
            ),
        )

    async def refusal(self, letter: Letter) -> str | None:
        """Why an act on the letter would be refused; None: the letter is open."""
        async with self.pool.acquire() as db:
            return None if letter.status == "OPEN" else await why_closed(db, letter)


async def why_closed(db: Connection, letter: Letter) -> str:
    """Why no act is possible on a letter that is not open: who closed it, when and why."""
    done = [act for act in await acts.about(db, [letter.id, letter.coordinates]) if "status" in act.after]
    by = f", by {done[-1].who} at {done[-1].at:%Y-%m-%d %H:%M:%S} ({done[-1].why})" if done else ""
    hint = {
        "REPLAYED": "; `ordersaga parked list` shows how it stands" if not letter.replay_publishes else "",
        "SUPERSEDED": "; `ordersaga dead-letters show` names the letter that followed it",
    }
    return f"dead letter {letter.id} is {letter.status} already{by}{hint.get(letter.status, '')}"


async def contents_of(db: Connection, ids: Sequence[UUID]) -> dict[UUID, Content]:
    """The contents of letters, by id."""
    return {
        row["id"]: Content(
            row["key"],
            row["value"],
            tuple(zip(row["header_names"], row["header_values"], strict=True)),
            row["timestamp_ms"],
            row["stacktrace"],
        )
        for row in await sql.dead_letter_contents(db, ids=list(ids))
    }
