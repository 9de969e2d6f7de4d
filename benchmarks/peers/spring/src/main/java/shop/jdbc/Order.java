package shop.jdbc;

import static shop.Messages.COMPLETED_CODE;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.HashMap;
import java.util.Map;
import java.util.UUID;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.OrderCompletedMessage;

/** An order as it was read under its lock, and what the messages of a batch make of it. */
class Order {
    private final DeliveryRequestMessage deliveryRequest;
    private final String orderName;
    private final int totalAmount;
    private final Map<UUID, String> items = new HashMap<>();
    private String status;
    private String paymentKey;
    private String deliveryStatus;
    private UUID deliveryId;
    private boolean changed;

    Order(ResultSet row) throws SQLException {
        deliveryRequest = new DeliveryRequestMessage(
                row.getObject("order_id", UUID.class),
                row.getObject("customer_id", UUID.class),
                row.getString("address"),
                row.getString("address_detail"),
                row.getString("zipcode"),
                row.getString("phone"),
                row.getString("name"),
                row.getString("delivery_memo"));
        orderName = row.getString("order_name");
        totalAmount = row.getInt("total_amount");
        status = row.getString("status");
        paymentKey = row.getString("payment_key");
        deliveryStatus = row.getString("delivery_status");
        deliveryId = row.getObject("delivery_id", UUID.class);
    }

    void addItem(UUID productId, String stockStatus) {
        items.put(productId, stockStatus);
    }

    /** Whether the item had no answer yet. */
    boolean stockAnswered(UUID productId, String stockStatus) {
        return items.replace(productId, "REQUESTED", stockStatus);
    }

    void paid(String key, int amount) {
        if (isPending() && paymentKey == null) {
            paymentKey = key;
            status = amount == totalAmount ? status : "FAILED";
            changed = true;
        }
    }

    void fail() {
        if (isPending()) {
            status = "FAILED";
            changed = true;
        }
    }

    /** True once: when everything is reserved and paid. */
    boolean requestDelivery() {
        boolean ready = isPending()
                && deliveryStatus.equals("NOT_REQUESTED")
                && paymentKey != null
                && items.values().stream().allMatch("RESERVED"::equals);
        if (ready) {
            deliveryStatus = "REQUESTED";
            changed = true;
        }
        return ready;
    }

    /** True once: when the order is complete. */
    boolean deliveryAnswered(UUID id, boolean started) {
        if (!isPending() || !deliveryStatus.equals("REQUESTED")) {
            return false;
        }
        deliveryId = id;
        deliveryStatus = started ? "STARTED" : "FAILED";
        status = started ? "COMPLETED" : "FAILED";
        changed = true;
        return started;
    }

    DeliveryRequestMessage deliveryRequest() {
        return deliveryRequest;
    }

    OrderCompletedMessage completion() {
        return new OrderCompletedMessage(orderId(), deliveryRequest.customerId(), COMPLETED_CODE, totalAmount, orderName);
    }

    UUID orderId() {
        return deliveryRequest.orderId();
    }

    String status() {
        return status;
    }

    String paymentKey() {
        return paymentKey;
    }

    String deliveryStatus() {
        return deliveryStatus;
    }

    UUID deliveryId() {
        return deliveryId;
    }

    boolean isChanged() {
        return changed;
    }

    private boolean isPending() {
        return status.equals("PENDING");
    }
}
