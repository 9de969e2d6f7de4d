"""Triggers that watch the ledger of each service.

A ledger that goes back, or that is moved by a process which has lost the partition, lets records take effect twice. Business keys would
hide that.
"""

from typing import Final

import asyncpg

from ordersaga.settings import SERVICES, Settings

WATCH: Final = """
CREATE TABLE misstep (at timestamptz, what text);
CREATE TABLE taker (topic text, partition int, name text, PRIMARY KEY (topic, partition));
CREATE FUNCTION watch_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    who text := current_setting('application_name');
    owner text;
BEGIN
    IF NEW.next_offset < OLD.next_offset OR NEW.epoch < OLD.epoch THEN
        INSERT INTO misstep VALUES (clock_timestamp(), format('%s/%s went back from offset %s to %s (epoch %s to %s)',
            OLD.topic, OLD.partition, OLD.next_offset, NEW.next_offset, OLD.epoch, NEW.epoch));
    END IF;
    IF NEW.epoch > OLD.epoch THEN
        INSERT INTO taker VALUES (OLD.topic, OLD.partition, who) ON CONFLICT (topic, partition) DO UPDATE SET name = EXCLUDED.name;
    ELSE
        SELECT name INTO owner FROM taker WHERE topic = OLD.topic AND partition = OLD.partition;
        IF owner <> who THEN
            INSERT INTO misstep VALUES (clock_timestamp(), format('%s/%s was moved to offset %s by %s, though %s has taken it',
                OLD.topic, OLD.partition, NEW.next_offset, who, owner));
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER watch_ledger BEFORE UPDATE ON ledger FOR EACH ROW EXECUTE FUNCTION watch_ledger();
"""


async def watch_ledgers(settings: Settings) -> None:
    """Create the triggers in the databases of all services."""
    for service in SERVICES:
        db = await asyncpg.connect(settings.database_url(service))
        await db.execute(WATCH)
        await db.close()


async def missteps(settings: Settings) -> list[str]:
    """The steps that must not be, since then: a ledger went back, or moved without its owner."""
    found = []
    for service in SERVICES:
        db = await asyncpg.connect(settings.database_url(service))
        rows = await db.fetch("SELECT at, what FROM misstep ORDER BY at")
        await db.close()
        found += [f"{service}'s ledger of {row['what']} at {row['at']:%H:%M:%S}" for row in rows]
    return found
