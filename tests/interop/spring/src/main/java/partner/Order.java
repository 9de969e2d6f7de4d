package partner;

import static partner.Messages.COMPLETED_CODE;
import static partner.Messages.STARTED;
import static partner.Messages.SUCCESS;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.springframework.context.annotation.Profile;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;
import partner.Messages.DeliveryRequestMessage;
import partner.Messages.DeliveryStartMessage;
import partner.Messages.OrderCompletedMessage;
import partner.Messages.OrderedProduct;
import partner.Messages.PaymentCancelRequestedMessage;
import partner.Messages.PaymentSuccessMessage;
import partner.Messages.StockDecreaseRequestMessage;
import partner.Messages.StockResponseMessage;
import partner.Messages.StockRollbackRequestedMessage;

/** Leads an order from its placing to its end; each answer counts once, and a failed order gives back what it has. */
@RestController
@Profile("order")
class Order {
    record Place(
            String orderName,
            int totalAmount,
            String address,
            String addressDetail,
            String zipcode,
            String phone,
            String name,
            String deliveryMemo,
            List<OrderedProduct> items) {}

    record Shown(UUID orderId, String orderName, int totalAmount, String status, String reason) {}

    private static final class Placed {
        final UUID customerId;
        final Place order;
        final CountDownLatch stockKnown = new CountDownLatch(1);
        String status = "PENDING";
        String reason;
        final Set<UUID> reserved = new HashSet<>();
        String paymentKey;
        boolean deliveryRequested;

        Placed(UUID customerId, Place order) {
            this.customerId = customerId;
            this.order = order;
        }

        synchronized Shown shown(UUID id) {
            return new Shown(id, order.orderName(), order.totalAmount(), status, reason);
        }
    }

    private static final long STOCK_WAIT_S = 10;

    private final Map<UUID, Placed> orders = new ConcurrentHashMap<>();
    private final Publisher publisher;
    private final Bug bug;

    Order(Publisher publisher, Bug bug) {
        this.publisher = publisher;
        this.bug = bug;
    }

    @PostMapping("/api/v1/orders")
    Shown place(@RequestHeader("User-Id") UUID customerId, @RequestBody Place order) throws InterruptedException {
        var id = UUID.randomUUID();
        var placed = new Placed(customerId, order);
        orders.put(id, placed);
        var products = order.items().stream()
                .map(each -> new OrderedProduct(each.productId(), bug.quantity(each.quantity())))
                .toList();
        publisher.send("order-created", id, new StockDecreaseRequestMessage(id, products));
        placed.stockKnown.await(STOCK_WAIT_S, TimeUnit.SECONDS);
        return placed.shown(id);
    }

    @GetMapping("/api/v1/orders/{id}")
    Shown show(@PathVariable("id") UUID id) {
        return orders.get(id).shown(id);
    }

    void stockAnswered(StockResponseMessage answer) {
        bug.strike();
        var placed = orders.get(answer.orderId());
        synchronized (placed) {
            if (answer.status().equals(SUCCESS)) {
                placed.reserved.add(answer.productId());
                next(answer.orderId(), placed);
            } else {
                fail(answer.orderId(), placed, "OUT_OF_STOCK");
            }
            if (placed.reserved.size() == placed.order.items().size() || placed.reason != null) {
                placed.stockKnown.countDown();
            }
        }
    }

    void paymentAnswered(PaymentSuccessMessage answer) {
        bug.strike();
        var placed = orders.get(answer.orderId());
        synchronized (placed) {
            if (answer.status().equals(SUCCESS)) {
                placed.paymentKey = answer.paymentKey();
                next(answer.orderId(), placed);
            } else {
                fail(answer.orderId(), placed, "PAYMENT_DECLINED");
            }
        }
    }

    void deliveryAnswered(DeliveryStartMessage answer) {
        bug.strike();
        var placed = orders.get(answer.orderId());
        synchronized (placed) {
            if (!answer.status().equals(STARTED)) {
                fail(answer.orderId(), placed, "DELIVERY_FAILED");
            } else if (placed.status.equals("PENDING")) {
                var order = placed.order;
                publisher.send(
                        "order-completed-topic",
                        answer.orderId(),
                        new OrderCompletedMessage(
                                answer.orderId(), placed.customerId, COMPLETED_CODE, order.totalAmount(), order.orderName()));
                placed.status = "COMPLETED";
            }
        }
    }

    private void next(UUID id, Placed placed) {
        var order = placed.order;
        if (placed.reserved.size() < order.items().size() || placed.paymentKey == null || placed.deliveryRequested) {
            return;
        }
        publisher.send(
                "delivery-request-topic",
                id,
                new DeliveryRequestMessage(
                        id,
                        placed.customerId,
                        order.address(),
                        order.addressDetail(),
                        order.zipcode(),
                        order.phone(),
                        order.name(),
                        order.deliveryMemo()));
        placed.deliveryRequested = true;
    }

    private void fail(UUID id, Placed placed, String reason) {
        if (!placed.status.equals("PENDING")) {
            return;
        }
        if (!placed.reserved.isEmpty()) {
            publisher.send("stock-rollback-requested-topic", id, new StockRollbackRequestedMessage(id, placed.order.items()));
        }
        if (placed.paymentKey != null) {
            publisher.send(
                    "payment-cancel-requested-topic",
                    id,
                    new PaymentCancelRequestedMessage(id, placed.paymentKey, placed.order.totalAmount(), reason, null));
        }
        placed.status = "FAILED";
        placed.reason = reason;
    }
}
