package shop.jpa;

import static shop.Messages.STARTED;

import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.PostLoad;
import jakarta.persistence.PostPersist;
import jakarta.persistence.Transient;
import java.time.Instant;
import java.util.UUID;
import org.springframework.data.domain.Persistable;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.DeliveryStartMessage;

/** One order's delivery; it never changes. */
@Entity
class Delivery implements Persistable<UUID> {
    @Id private UUID deliveryId;
    private UUID orderId;
    private UUID customerId;
    private String status;
    private String trackingNumber;
    private String address;
    private String addressDetail;
    private String zipcode;
    private String phone;
    private String name;
    private String deliveryMemo;
    private Instant createdAt;
    @Transient private boolean isNew = true;

    protected Delivery() {}

    Delivery(DeliveryRequestMessage request) {
        deliveryId = UUID.randomUUID();
        orderId = request.orderId();
        customerId = request.customerId();
        status = STARTED;
        trackingNumber = "TRK" + deliveryId.toString().substring(0, 13);
        address = request.address();
        addressDetail = request.addressDetail();
        zipcode = request.zipcode();
        phone = request.phone();
        name = request.name();
        deliveryMemo = request.deliveryMemo();
        createdAt = Instant.now();
    }

    DeliveryStartMessage answer() {
        return new DeliveryStartMessage(orderId, deliveryId, status);
    }

    @Override
    public UUID getId() {
        return deliveryId;
    }

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
