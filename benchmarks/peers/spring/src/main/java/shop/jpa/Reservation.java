package shop.jpa;

import jakarta.persistence.Embeddable;
import jakarta.persistence.EmbeddedId;
import jakarta.persistence.Entity;
import jakarta.persistence.PostLoad;
import jakarta.persistence.PostPersist;
import jakarta.persistence.Transient;
import java.io.Serializable;
import java.time.Instant;
import java.util.UUID;
import org.springframework.data.domain.Persistable;
import shop.Messages.StockResponseMessage;

/** What was decided for one product of an order, which is the answer to a repeated request too. */
@Entity
class Reservation implements Persistable<Reservation.Id> {
    @Embeddable
    record Id(UUID orderId, UUID productId) implements Serializable {}

    @EmbeddedId private Id id;
    private int quantity;
    private String status;
    private Instant createdAt = Instant.now();
    @Transient private boolean isNew = true;

    protected Reservation() {}

    Reservation(UUID orderId, UUID productId, int quantity, String status) {
        this.id = new Id(orderId, productId);
        this.quantity = quantity;
        this.status = status;
    }

    StockResponseMessage answer() {
        return new StockResponseMessage(id.orderId(), id.productId(), status, null);
    }

    @Override
    public Id getId() {
        return id;
    }

    /** Without this, saving would look for the row first. */
    @Override
    public boolean isNew() {
        return isNew;
    }

    @PostLoad
    @PostPersist
    void stored() {
        isNew = false;
    }
}
