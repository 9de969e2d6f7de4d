package shop.jpa;

import jakarta.persistence.CascadeType;
import jakarta.persistence.Entity;
import jakarta.persistence.EnumType;
import jakarta.persistence.Enumerated;
import jakarta.persistence.Id;
import jakarta.persistence.OneToMany;
import jakarta.persistence.Table;
import java.time.Instant;
import java.util.List;
import java.util.UUID;
import org.hibernate.annotations.DynamicUpdate;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.OrderCompletedMessage;
import shop.Messages.StockDecreaseRequestMessage;

/** An order and what its partners have said of it. Every method that changes it says whether anything was new. */
@Entity
@Table(name = "orders")
@DynamicUpdate
class Order {
    enum Status { PENDING, COMPLETED, CANCELLED, FAILED }

    enum DeliveryStatus { NOT_REQUESTED, REQUESTED, STARTED, FAILED }

    @Id private UUID orderId;
    private UUID customerId;
    private String orderName;
    private int totalAmount;
    private String address;
    private String addressDetail;
    private String zipcode;
    private String phone;
    private String name;
    private String deliveryMemo;
    @Enumerated(EnumType.STRING) private Status status;
    private String paymentKey;
    @Enumerated(EnumType.STRING) private DeliveryStatus deliveryStatus;
    private UUID deliveryId;
    private Instant createdAt;
    private Instant updatedAt;

    @OneToMany(mappedBy = "order", cascade = CascadeType.ALL)
    private List<OrderItem> items;

    protected Order() {}

    Order(UUID customerId, PlaceOrder body) {
        orderId = UUID.randomUUID();
        this.customerId = customerId;
        orderName = body.orderName();
        totalAmount = body.totalAmount();
        address = body.address();
        addressDetail = body.addressDetail();
        zipcode = body.zipcode();
        phone = body.phone();
        name = body.name();
        deliveryMemo = body.deliveryMemo();
        status = Status.PENDING;
        deliveryStatus = DeliveryStatus.NOT_REQUESTED;
        createdAt = Instant.now();
        updatedAt = createdAt;
        items = body.items().stream()
                .map(line -> new OrderItem(this, line.productId(), line.quantity()))
                .toList();
    }

    UUID orderId() {
        return orderId;
    }

    String status() {
        return status.name();
    }

    StockDecreaseRequestMessage stockRequest() {
        return new StockDecreaseRequestMessage(
                orderId, items.stream().map(OrderItem::ordered).toList());
    }

    boolean stockAnswered(UUID productId, boolean reserved) {
        var asked = items.stream()
                .filter(item -> productId == null || item.productId().equals(productId))
                .filter(OrderItem::isRequested)
                .toList();
        asked.forEach(item -> item.answered(reserved));
        if (!asked.isEmpty() && !reserved) {
            fail();
        }
        return !asked.isEmpty();
    }

    boolean paid(String key, int amount) {
        if (paymentKey != null || status != Status.PENDING) {
            return false;
        }
        paymentKey = key;
        updatedAt = Instant.now();
        if (amount != totalAmount) {
            fail();
        }
        return true;
    }

    void fail() {
        if (status == Status.PENDING) {
            status = Status.FAILED;
            updatedAt = Instant.now();
        }
    }

    /** True once: when everything is reserved and paid. */
    boolean requestDelivery() {
        boolean ready = status == Status.PENDING
                && deliveryStatus == DeliveryStatus.NOT_REQUESTED
                && paymentKey != null
                && items.stream().allMatch(OrderItem::isReserved);
        if (ready) {
            deliveryStatus = DeliveryStatus.REQUESTED;
            updatedAt = Instant.now();
        }
        return ready;
    }

    /** True once: when the order is complete. */
    boolean deliveryAnswered(UUID id, boolean started) {
        if (deliveryStatus != DeliveryStatus.REQUESTED || status != Status.PENDING) {
            return false;
        }
        deliveryId = id;
        deliveryStatus = started ? DeliveryStatus.STARTED : DeliveryStatus.FAILED;
        status = started ? Status.COMPLETED : Status.FAILED;
        updatedAt = Instant.now();
        return started;
    }

    DeliveryRequestMessage deliveryRequest() {
        return new DeliveryRequestMessage(
                orderId, customerId, address, addressDetail, zipcode, phone, name, deliveryMemo);
    }

    OrderCompletedMessage completion(String code) {
        return new OrderCompletedMessage(orderId, customerId, code, totalAmount, orderName);
    }
}
