package partner;

import static org.springframework.kafka.support.KafkaHeaders.DLT_EXCEPTION_FQCN;
import static org.springframework.kafka.support.KafkaHeaders.DLT_EXCEPTION_MESSAGE;
import static org.springframework.kafka.support.KafkaHeaders.DLT_ORIGINAL_CONSUMER_GROUP;
import static org.springframework.kafka.support.KafkaHeaders.DLT_ORIGINAL_OFFSET;
import static org.springframework.kafka.support.KafkaHeaders.DLT_ORIGINAL_PARTITION;
import static org.springframework.kafka.support.KafkaHeaders.DLT_ORIGINAL_TIMESTAMP;
import static org.springframework.kafka.support.KafkaHeaders.DLT_ORIGINAL_TOPIC;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.core.ProducerFactory;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/** The team's tool for dead letters on any topic: shows what Spring's headers say, and sends a record to its topic again, with a word mended. */
@RestController
class Letters {
    record Letter(
            String topic, int partition, long offset, long timestamp, String group, String fqcn, String message, String key, String value) {}

    record Replay(String key, String wrong, String right) {}

    private final List<Letter> letters = new CopyOnWriteArrayList<>();
    private final KafkaTemplate<String, byte[]> raw;

    Letters(ProducerFactory<?, ?> ours) {
        raw = new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(
                ours.getConfigurationProperties(), new StringSerializer(), new ByteArraySerializer()));
    }

    @KafkaListener(
            topics = {
                "order-created-dlt",
                "stock-response-topic-dlt",
                "payment-success-topic-dlt",
                "delivery-request-topic-dlt",
                "delivery-start-topic-dlt"
            },
            groupId = "${partner.name}-letters",
            properties = "value.deserializer=org.apache.kafka.common.serialization.ByteArrayDeserializer")
    void read(ConsumerRecord<String, byte[]> letter) {
        if (letter.headers().lastHeader(DLT_ORIGINAL_TOPIC) != null) {
            letters.add(new Letter(
                    text(letter, DLT_ORIGINAL_TOPIC),
                    number(letter, DLT_ORIGINAL_PARTITION).getInt(),
                    number(letter, DLT_ORIGINAL_OFFSET).getLong(),
                    number(letter, DLT_ORIGINAL_TIMESTAMP).getLong(),
                    text(letter, DLT_ORIGINAL_CONSUMER_GROUP),
                    text(letter, DLT_EXCEPTION_FQCN),
                    text(letter, DLT_EXCEPTION_MESSAGE),
                    letter.key(),
                    new String(letter.value(), StandardCharsets.UTF_8)));
        }
    }

    @GetMapping("/partner/letters")
    List<Letter> all() {
        return letters;
    }

    @PostMapping("/partner/letters/replay")
    long replay(@RequestBody Replay replay) {
        return letters.stream()
                .filter(each -> replay.key().equals(each.key()))
                .peek(each -> raw.send(each.topic(), each.key(), bytes(each.value().replace(replay.wrong(), replay.right()))).join())
                .count();
    }

    private static String text(ConsumerRecord<String, byte[]> letter, String header) {
        return new String(letter.headers().lastHeader(header).value(), StandardCharsets.UTF_8);
    }

    private static ByteBuffer number(ConsumerRecord<String, byte[]> letter, String header) {
        return ByteBuffer.wrap(letter.headers().lastHeader(header).value());
    }

    private static byte[] bytes(String value) {
        return value.getBytes(StandardCharsets.UTF_8);
    }
}
