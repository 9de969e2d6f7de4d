package partner;

import java.util.List;
import java.util.UUID;

/** The guide's messages, and those of the compensation. */
public interface Messages {
    record OrderedProduct(UUID productId, int quantity) {}

    record StockDecreaseRequestMessage(UUID orderId, List<OrderedProduct> products) {}

    record StockResponseMessage(UUID orderId, UUID productId, String status, String message) {}

    record PaymentSuccessMessage(UUID orderId, String paymentKey, Integer amount, String status) {}

    record DeliveryRequestMessage(
            UUID orderId,
            UUID customerId,
            String address,
            String addressDetail,
            String zipcode,
            String phone,
            String name,
            String deliveryMemo) {}

    record DeliveryStartMessage(UUID orderId, UUID deliveryId, String status) {}

    record OrderCompletedMessage(UUID orderId, UUID customerId, String status, Integer totalAmount, String orderName) {}

    record StockRollbackRequestedMessage(UUID orderId, List<OrderedProduct> items) {}

    record StockRollbackCompletedMessage(UUID orderId) {}

    record PaymentCancelRequestedMessage(UUID orderId, String paymentKey, Integer amount, String reason, String requestId) {}

    record PaymentCancelledMessage(
            UUID orderId, String paymentKey, Integer amount, String status, String message, Integer balanceAmount, String requestId) {}

    String SUCCESS = "SUCCESS";
    String FAILED = "FAILED";
    String STARTED = "STARTED";
    String COMPLETED_CODE = "ORD0002";

    /** The type of a listener's message where the record names none. */
    String TYPE = "spring.json.value.default.type=partner.Messages$";
}
