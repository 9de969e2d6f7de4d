package shop.jpa;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import jakarta.persistence.EntityManager;
import java.util.UUID;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.ApplicationEventPublisher;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;
import org.springframework.transaction.annotation.Propagation;
import org.springframework.transaction.annotation.Transactional;
import shop.OutboxPublisher.Written;

/** Records to publish, written in the transaction that leads to them. */
@Component
@Profile("jpa")
class Outbox {
    private final EntityManager entities;
    private final ObjectMapper json;
    private final ApplicationEventPublisher events;
    private final String prefix;

    Outbox(
            EntityManager entities,
            ObjectMapper json,
            ApplicationEventPublisher events,
            @Value("${shop.topics}") String prefix) {
        this.entities = entities;
        this.json = json;
        this.events = events;
        this.prefix = prefix;
    }

    @Transactional(propagation = Propagation.MANDATORY)
    public void add(String topic, UUID orderId, Object message) {
        try {
            entities.persist(new OutboxRecord(prefix + topic, orderId.toString(), json.writeValueAsString(message)));
            events.publishEvent(new Written());
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }
}
