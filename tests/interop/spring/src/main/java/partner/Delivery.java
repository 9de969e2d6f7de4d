package partner;

import static partner.Messages.FAILED;
import static partner.Messages.STARTED;
import static partner.Messages.TYPE;

import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.stereotype.Component;
import partner.Messages.DeliveryRequestMessage;
import partner.Messages.DeliveryStartMessage;

/** Starts a delivery for each order, but not to the islands; a repeated request gets the same answer. */
@Component
@Profile("delivery")
class Delivery {
    private static final String REQUESTS = "delivery-request-topic";
    private static final String GROUP = "delivery-group";

    private final Map<UUID, UUID> started = new ConcurrentHashMap<>();
    private final Publisher publisher;
    private final Bug bug;

    Delivery(Publisher publisher, Bug bug) {
        this.publisher = publisher;
        this.bug = bug;
    }

    void requested(DeliveryRequestMessage request) {
        var refused = request.zipcode() != null && request.zipcode().startsWith("63");
        var deliveryId = refused ? null : started.computeIfAbsent(request.orderId(), id -> UUID.randomUUID());
        publisher.send(
                "delivery-start-topic",
                request.orderId(),
                new DeliveryStartMessage(request.orderId(), deliveryId, bug.word(refused ? FAILED : STARTED)));
        bug.strike();
    }

    @Component
    @Profile("delivery & !retryable")
    record Listener(Delivery delivery) {
        @KafkaListener(topics = REQUESTS, groupId = GROUP, properties = TYPE + "DeliveryRequestMessage")
        void requested(DeliveryRequestMessage request) {
            delivery.requested(request);
        }
    }

    @Component
    @Profile("delivery & retryable")
    record RetryableListener(Delivery delivery) {
        @RetryableTopic
        @KafkaListener(topics = REQUESTS, groupId = GROUP, properties = TYPE + "DeliveryRequestMessage")
        void requested(DeliveryRequestMessage request) {
            delivery.requested(request);
        }
    }
}
