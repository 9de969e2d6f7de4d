"""Judges a history that has come to rest by every promise of the runtime and of the services."""

from tests.simulation import business_promises as business
from tests.simulation import runtime_promises as runtime
from tests.simulation.world import World


async def judge(world: World) -> list[str]:
    """Every broken promise."""
    letters = {service: await world.rows(service, "dead_letter") for service in world.databases}
    dead = {
        service: {runtime.place_of(row) for row in rows if row["status"] in ("OPEN", "DISCARDED")}
        for service, rows in letters.items()
    }
    found = [*world.complaints]
    for service, rows in letters.items():
        given_up = {runtime.place_of(row) for row in rows}
        found += runtime.took_effect_once(world, service, dead[service])
        found += runtime.in_key_order(world, service, given_up)
        found += runtime.fresh_are_prompt(world, service, given_up)
        found += runtime.committed_by_owners(world, service)
        found += runtime.published(world, service)
        found += runtime.first_publications_in_order(world, service)
        found += runtime.only_poison_died(world, service, rows)
        found += runtime.refused_are_letters(world, service, rows)
        if world.databases[service].deadlocks:
            found.append(f"{service}: two transactions wait for each other's locks; they take them in different orders")
    tainted = business.tainted(world, dead)
    found += await business.stock_is_conserved(world)
    found += await business.orders_settled(world, tainted)
    found += await business.events_match(world)
    found += await business.prices_agree(world)
    found += business.nothing_given_back_is_delivered(world)
    if world.plan.own_payment:
        found += await business.books_agree(world, tainted)
    return found
