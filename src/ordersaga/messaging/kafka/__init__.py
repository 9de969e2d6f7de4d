"""The Kafka client: a consumer, a publisher and the topics, each with a small async interface. Only this folder imports confluent_kafka."""

from ordersaga.messaging.kafka.client import KafkaForbids, KafkaUnavailable, Partition, forbidden
from ordersaga.messaging.kafka.consumer import Fetched, FetchFailure, PartitionConsumer
from ordersaga.messaging.kafka.gaps import Gap, gaps_of
from ordersaga.messaging.kafka.layout import TopicChange, TopicFault, create_missing_topics, faults, states
from ordersaga.messaging.kafka.near import Near
from ordersaga.messaging.kafka.publisher import Publication, Publisher, RefusedRecord
from ordersaga.messaging.kafka.reach import why_not_made, why_refused, why_unreachable
from ordersaga.messaging.kafka.sender import Sender
from ordersaga.messaging.kafka.tail import Look, Tail, TooManyLook
from ordersaga.messaging.kafka.tap import Tap, records_at, watermarks
from ordersaga.messaging.kafka.topics import Access, Topics, TopicState

__all__ = [
    "Access",
    "FetchFailure",
    "Fetched",
    "Gap",
    "KafkaForbids",
    "KafkaUnavailable",
    "Look",
    "Near",
    "Partition",
    "PartitionConsumer",
    "Publication",
    "Publisher",
    "RefusedRecord",
    "Sender",
    "Tail",
    "Tap",
    "TooManyLook",
    "TopicChange",
    "TopicFault",
    "TopicState",
    "Topics",
    "create_missing_topics",
    "faults",
    "forbidden",
    "gaps_of",
    "records_at",
    "states",
    "watermarks",
    "why_not_made",
    "why_refused",
    "why_unreachable",
]
