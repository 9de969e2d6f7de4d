package partner;

import java.util.UUID;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.stereotype.Component;

/** Publishes under the order's id and waits for the broker, in the listener's transaction where there is one. */
@Component
class Publisher {
    private final KafkaTemplate<String, Object> kafka;

    Publisher(KafkaTemplate<String, Object> kafka) {
        this.kafka = kafka;
    }

    void send(String topic, UUID orderId, Object message) {
        if (kafka.isTransactional() && !kafka.inTransaction()) {
            kafka.executeInTransaction(own -> own.send(topic, orderId.toString(), message).join());
        } else {
            kafka.send(topic, orderId.toString(), message).join();
        }
    }
}
