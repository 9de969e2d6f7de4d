"""`ordersaga conform delivery` against small Deliveries: each wrong one fails the cases of its fault and no other; unusual ones pass."""

from pathlib import Path

import pytest

from ordersaga.devstack import DevStack
from tests.conformance.running_partner import RunningPartner, conform

A = "a delivery request"
ANSWER = f"the answer to {A}"
RESTARTED = f"{A} while the service restarts"
BAD = {
    f"{A}: bad JSON",
    f"{A}: no text at all",
    f"{A}: an empty value",
    f"{A}: a list instead of an object",
    f"{A}: a wrong type",
    f"{A}: an id that is none",
    f"{A}: no order id",
}
WRONG = {
    "answers-twice": {f"{A} has one answer"},
    "answers-twice-after-a-restart": {RESTARTED},
    "changes-its-mind": {f"{A} has one answer"},
    "begins-at-the-end": {RESTARTED},
    "keys-failures-by-something-else": {"a refused delivery has the guide's types"},
    "fails-unknown-fields": {f"{A} with unknown fields"},
    "letters-elsewhere": BAD,
    "numbers-its-deliveries": {f"{ANSWER} has the guide's fields"},
    "no-text-for-no-delivery": {"a refused delivery has the guide's types"},
    "quotes-the-key": {f"{ANSWER} is keyed by its order"},
    "seconds-for-milliseconds": {f"{ANSWER} has the time of its sending"},
    "begins-anew": {RESTARTED},
    "answers-again-later": {f"{A} has one answer"},
    "forgets-repeats": {
        f"{A} twice in a row",
        f"{A} again after its answer",
        f"{A} again in other bytes",
        f"{A} in several partitions",
        f"{A} again after many others",
        RESTARTED,
        "a second request with another address starts no second delivery",
    },
    "lower-case-status": {f"{ANSWER} has the guide's status word"},
    "snake-case": {f"{ANSWER} has the guide's fields"},
    "wrong-status-word": {f"{ANSWER} has the guide's status word"},
    "upper-case-ids": {f"{ANSWER} has ids in lower case"},
    "keyed-by-something-else": {f"{ANSWER} is keyed by its order"},
    "wrong-topic": {f"{ANSWER} is on its topic"},
    "skips-what-is-bad": BAD,
    "loses-on-restart": {RESTARTED},
    "keeps-ids-as-text": {f"{A} again in other bytes"},
    "knows-repeats-by-their-message-id": {f"{A} again after its answer"},
    "one-delivery-a-customer": {"two orders of one customer are two deliveries"},
    "reads-uncommitted": {f"{A} in an aborted transaction", f"{A} in aborted transactions that overlap"},
    "forgets-all-on-restart": {RESTARTED},
    "one-delivery-an-address": {
        "a started delivery has an id",
        "two orders of one customer are two deliveries",
        "a second request with another address starts no second delivery",
        f"many times {A}",
    },
    "starts-the-refused-again": {"a repeat of a refused delivery is refused again"},
    "also-progress": {f"{ANSWER} has the guide's status word", f"{A} has one answer"},
    "trips-over-headers": {f"{A} with headers of a stranger"},
    "believes-the-type-header": {f"{A} with a Java type header"},
    "reads-small-records-alone": {f"{A} of nearly a megabyte"},
    "loses-what-has-unknown-fields": {f"{A} with unknown fields"},
    "letters-without-the-record": BAD - {f"{A}: an empty value"},
    "has-room-for-short-texts": {f"{A} with long texts"},
    "knows-no-emoji": {f"{A} with Korean, emoji and quotes"},
    "names-no-delivery": {"a started delivery has an id"},
    "fails-repeats": {
        f"{A} again after many others",
        f"{A} twice in a row",
        f"{A} again after its answer",
        f"{A} again in other bytes",
        f"{A} in several partitions",
    },
    "dies-of-a-tombstone": {f"{A}: a tombstone"},
    "takes-the-id-from-the-key": {f"{A} without a record key", f"{A} with another record key"},
    "refuses-unknown-fields": {f"{A} with unknown fields"},
    "needs-every-field": {f"{A} without optional fields"},
    "trips-over-null": {f"{A} with null in optional fields"},
    "needs-a-type-header": {f"{A} without a type header"},
    "silent-about-failures": {
        "an address without delivery is answered FAILED",
        "an address that is missing is answered or becomes a dead letter",
    },
}
UNUSUAL = [
    "right",
    "no-key-and-sorted",
    "talkative",
    "pretty",
    "transactions",
    "silent-about-repeats",
    "writes-a-journal",
    "letters-in-an-envelope",
    "letters-without-key",
    "letters-in-one-queue",
    "retries-first",
    "shuffles-answers",
    "offsets-in-transactions",
    "in-batches",
    "two-seconds-late",
    "copies-headers-and-time",
    "answers-into-one-partition",
    "compressed",
    "with-a-bom",
]


@pytest.mark.parametrize("manner", WRONG)
def test_a_wrong_delivery_fails_the_cases_of_its_fault_alone(stack: DevStack, tmp_path: Path, manner: str) -> None:
    restart = RESTARTED in WRONG[manner]
    with RunningPartner(tmp_path, stack, "delivery", manner) as partner:
        verdict = partner.conform(restart=restart)
    assert verdict.failed == WRONG[manner], verdict.answer
    assert (
        verdict.answer.code == 1 and not verdict.not_judged and verdict.skipped == (set() if restart else {RESTARTED})
    )


@pytest.mark.parametrize(
    "manner, one",
    [
        ("names-the-order-before", f"many times {A}"),
        ("remembers-thirty", f"{A} again after many others"),
        ("reads-one-partition", f"{A} in each partition"),
        ("ordinal-status", f"{ANSWER} has the guide's status word"),
        ("gives-up-the-whole-batch", f"{A}: bad JSON"),
    ],
)
def test_a_delivery_that_is_wrong_in_many_ways_is_named(stack: DevStack, tmp_path: Path, manner: str, one: str) -> None:
    with RunningPartner(tmp_path, stack, "delivery", manner) as partner:
        verdict = partner.conform(restart=False)
    assert one in verdict.failed and verdict.answer.code == 1, verdict.answer
    assert (manner == "names-the-order-before") == ("names the order before its own" in verdict.answer.out)


@pytest.mark.parametrize("manner", ["dies-on-bad-json", "tries-for-ever", "drops-what-comes-after-bad"])
def test_a_delivery_that_dies_of_a_bad_record_or_stays_there_is_named_by_the_first(
    stack: DevStack, tmp_path: Path, manner: str
) -> None:
    with RunningPartner(tmp_path, stack, "delivery", manner) as partner:
        verdict = partner.conform()
    assert verdict.answer.code == 1 and verdict.failed == {f"{A}: bad JSON"}, verdict.answer
    assert verdict.not_judged == BAD - verdict.failed | {f"{A}: a tombstone"}
    assert "the record behind the spoilt one was not answered" in verdict.answer.out


def test_a_delivery_that_dies_of_a_shape_is_named_by_it(stack: DevStack, tmp_path: Path) -> None:
    with RunningPartner(tmp_path, stack, "delivery", "dies-of-unknown-fields") as partner:
        verdict = partner.conform(restart=False)
    assert verdict.failed == {f"{A} with unknown fields"}, verdict.answer
    assert verdict.not_judged >= BAD and "the service has stopped answering" in verdict.answer.out


def test_answers_in_an_envelope_lack_the_fields_and_nothing_else(stack: DevStack, tmp_path: Path) -> None:
    with RunningPartner(tmp_path, stack, "delivery", "in-an-envelope") as partner:
        verdict = partner.conform("--only", "form", "--only", "happy", restart=False)
    assert verdict.failed == {f"{ANSWER} has the guide's fields", "a started delivery has an id"}, verdict.answer


@pytest.mark.parametrize("manner", UNUSUAL)
def test_a_right_but_unusual_delivery_passes(stack: DevStack, tmp_path: Path, manner: str) -> None:
    with RunningPartner(tmp_path, stack, "delivery", manner) as partner:
        verdict = partner.conform()
    assert verdict.answer.code == 0 and not verdict.skipped, verdict.answer
    assert len(verdict.passed) > 40


@pytest.mark.parametrize(
    "manner, said",
    [
        ("never-answers", "had no answer on delivery-start-topic"),
        ("names-a-stranger", "answers on delivery-start-topic for orders that nobody has asked for"),
        ("answers-garbage", "with what is no JSON object"),
        ("serializes-twice", "a JSON text that has one inside"),
        ("writes-utf-16", "no JSON object in UTF-8"),
        ("with-a-schema-id", "the five bytes of a Schema Registry come before it"),
    ],
)
def test_a_delivery_that_cannot_be_judged_is_told(stack: DevStack, tmp_path: Path, manner: str, said: str) -> None:
    with RunningPartner(tmp_path, stack, "delivery", manner) as partner:
        verdict = partner.conform()
    assert verdict.answer.code == 2 and said in verdict.answer.err, verdict.answer


def test_a_kafka_without_the_topics_is_told(tmp_path: Path) -> None:
    with DevStack.start(postgres=False) as empty:
        verdict = conform(tmp_path, empty.bootstrap_servers, "delivery")
    assert (
        verdict.answer.code == 2 and "has no topic delivery-request-topic, delivery-start-topic" in verdict.answer.err
    )
    assert "ordersaga topics create" in verdict.answer.err, verdict.answer


def test_a_kafka_that_does_not_answer_is_told(tmp_path: Path) -> None:
    verdict = conform(tmp_path, "127.0.0.1:1", "delivery")
    assert verdict.answer.code == 2 and "127.0.0.1:1 cannot be used" in verdict.answer.err, verdict.answer
