"""A watch in the databases themselves: a ledger that goes back lets records take effect again, also where business keys hide it."""

from typing import Final

import asyncpg

from ordersaga.settings import SERVICES, Settings

WATCH: Final = """
CREATE TABLE way_back (at timestamptz, topic text, partition int, from_offset bigint, to_offset bigint, from_epoch bigint, to_epoch bigint);
CREATE FUNCTION note_way_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO way_back
    VALUES (clock_timestamp(), OLD.topic, OLD.partition, OLD.next_offset, NEW.next_offset, OLD.epoch, NEW.epoch);
    RETURN NEW;
END $$;
CREATE TRIGGER way_back BEFORE UPDATE ON ledger FOR EACH ROW
WHEN (NEW.next_offset < OLD.next_offset OR NEW.epoch < OLD.epoch) EXECUTE FUNCTION note_way_back();
"""


async def watch_ledgers(settings: Settings) -> None:
    """Have every step back of any service's ledger written down."""
    for service in SERVICES:
        db = await asyncpg.connect(settings.database_url(service))
        await db.execute(WATCH)
        await db.close()


async def ways_back(settings: Settings) -> list[str]:
    """Each step back since then: somebody committed who no longer owned the partition."""
    found = []
    for service in SERVICES:
        db = await asyncpg.connect(settings.database_url(service))
        rows = await db.fetch("SELECT * FROM way_back ORDER BY at")
        await db.close()
        found += [
            f"{service}'s ledger of {row['topic']}/{row['partition']} went back from offset {row['from_offset']} to "
            f"{row['to_offset']} (epoch {row['from_epoch']} to {row['to_epoch']}) at {row['at']:%H:%M:%S}"
            for row in rows
        ]
    return found
