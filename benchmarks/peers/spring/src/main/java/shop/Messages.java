package shop;

import java.util.List;
import java.util.UUID;

/** The six messages of the contract. */
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

    String SUCCESS = "SUCCESS";
    String FAILED = "FAILED";
    String STARTED = "STARTED";
    String COMPLETED_CODE = "ORD0002";
}
