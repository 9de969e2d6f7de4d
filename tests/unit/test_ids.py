"""Headers that identify an output record: the short way to a `traceparent` answers as OpenTelemetry's propagator does."""

from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ordersaga.contracts.headers import MESSAGE_ID, TRACEPARENT
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import descent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MESSAGE = UUID("f2c7b9a0-3f0f-5d7e-8c5a-0123456789ab")
_propagator = TraceContextTextMapPropagator()


def by_the_library(parent: str, message_id: UUID) -> str:
    """The `traceparent` of a span with the message's id, below this parent or at the top of a trace with the message's id."""
    found = get_current_span(_propagator.extract({TRACEPARENT: parent})).get_span_context()
    trace_id, flags = (found.trace_id, found.trace_flags) if found.is_valid else (message_id.int, 1)
    span = SpanContext(trace_id, message_id.int & (2**64 - 1), is_remote=False, trace_flags=flags)  # type: ignore[arg-type]
    headers: dict[str, str] = {}
    _propagator.inject(headers, set_span_in_context(NonRecordingSpan(span)))
    return headers[TRACEPARENT]


def by_us(parent: str, message_id: UUID) -> str:
    headers = ((MESSAGE_ID, b"m"), (TRACEPARENT, parent.encode()))
    return descent(Record("t", 0, 0, None, None, headers, 0), message_id)[1]


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just("0" * digits), st.just("f" * digits), st.text("0123456789abcdef", min_size=digits, max_size=digits)
    )


PARENTS = st.tuples(
    st.sampled_from(["", " ", "\t"]),
    st.sampled_from(["00", "01", "cc", "ff", "0", "zz"]),
    hexadecimal(32),
    hexadecimal(16),
    hexadecimal(2),
    st.sampled_from(["", " ", "-", "-more", "x", "- "]),
).map(lambda parts: f"{parts[0]}{'-'.join(parts[1:5])}{parts[5]}")


@given(st.one_of(PARENTS, st.text("0123456789abcdefF-", max_size=60)))
@example(PARENT)
@example(PARENT.upper())
@example(PARENT[:-1] + "g")
@example("--- this has fifty-five characters and three hyphens ---")
def test_a_span_has_the_parent_that_the_library_would_give_it(parent: str) -> None:
    assert by_us(parent, MESSAGE) == by_the_library(parent, MESSAGE)


def test_a_record_without_a_trace_begins_one_with_its_messages_id() -> None:
    assert descent(Record("t", 1, 2, None, None, None, 0), MESSAGE) == (
        "t/1/2",
        f"00-{MESSAGE.hex}-{MESSAGE.hex[16:]}-01",
    )
