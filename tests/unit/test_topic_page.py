"""The page of a topic: its row over all partitions claims nothing that is not known of each."""

from ordersaga.web.console.topic import Flow, total_of


def test_the_total_is_known_where_each_partition_is() -> None:
    read = [Flow(0, 0, 9, 1.5, position=7, lag=2, rate_out=1.0), Flow(1, 0, 4, 0.5, position=4, lag=0, rate_out=0.0)]
    assert total_of(read) == {"rate_in": 2.0, "position": 11, "lag": 2, "rate_out": 1.0}


def test_a_topic_that_nobody_of_ours_reads_has_no_lag_instead_of_none() -> None:
    unread = [Flow(0, 0, 9, 1.5), Flow(1, 0, 4, None)]
    assert total_of(unread) == {"rate_in": None, "position": None, "lag": None, "rate_out": None}
