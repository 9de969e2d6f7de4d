package shop.jpa;

import java.util.Optional;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.data.jpa.repository.JpaRepository;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.stereotype.Service;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryRequestMessage;

/** Delivery: one per order; a repeat gets the same answer. */
@Service
@Profile("jpa & delivery")
class DeliveryService {
    private final Deliveries deliveries;
    private final Outbox outbox;

    DeliveryService(Deliveries deliveries, Outbox outbox) {
        this.deliveries = deliveries;
        this.outbox = outbox;
    }

    @Transactional
    public void start(DeliveryRequestMessage request) {
        Delivery delivery = deliveries
                .findByOrderId(request.orderId())
                .orElseGet(() -> deliveries.save(new Delivery(request)));
        outbox.add("delivery-start-topic", request.orderId(), delivery.answer());
    }
}

@Profile("jpa & delivery")
interface Deliveries extends JpaRepository<Delivery, UUID> {
    Optional<Delivery> findByOrderId(UUID orderId);
}

@Component
@Profile("jpa & delivery")
class DeliveryListener {
    private final DeliveryService service;

    DeliveryListener(DeliveryService service) {
        this.service = service;
    }

    @KafkaListener(
            topics = "${shop.topics}delivery-request-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryRequestMessage")
    void deliveryRequest(DeliveryRequestMessage message) {
        service.start(message);
    }
}
