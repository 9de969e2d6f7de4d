"""The kept runs of the audit: a file that cannot be removed holds up no new run."""

from datetime import UTC, datetime
from pathlib import Path

from ordersaga.audit.kept import Kept, Run
from ordersaga.messaging.ids import new_id


def a_run() -> Run:
    return Run(id=new_id(), who="Oliver", unchanged_for_s=0.0, services=["order"], began_at=datetime.now(UTC))


def test_a_result_that_cannot_be_removed_holds_up_no_new_run(tmp_path: Path) -> None:
    kept, first, second = Kept(tmp_path, 1), a_run(), a_run()
    kept.add(first)
    stuck = tmp_path / f"{first.id}.json"
    stuck.unlink()
    stuck.mkdir()  # what no process can unlink, whatever its rights
    kept.add(second)
    assert kept.page(None, 10) == [second]
    assert (tmp_path / f"{second.id}.json").is_file()
