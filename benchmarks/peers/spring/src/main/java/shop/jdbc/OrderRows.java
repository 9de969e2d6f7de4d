package shop.jdbc;

import static shop.Messages.FAILED;
import static shop.Messages.STARTED;
import static shop.Messages.SUCCESS;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryStartMessage;
import shop.Messages.PaymentSuccessMessage;
import shop.Messages.StockResponseMessage;
import shop.Tables.Outgoing;

/** Order: each batch of one topic is one transaction, which locks its orders in id order, decides, and writes row by row. */
@Component
@Profile("jdbc & order")
class OrderRows {
    private static final String LOCK =
            """
            SELECT order_id, customer_id, order_name, total_amount, address, address_detail, zipcode, phone, name,
                delivery_memo, status, payment_key, delivery_status, delivery_id
            FROM orders WHERE order_id = ANY (?) ORDER BY order_id FOR NO KEY UPDATE""";

    /** Not joined to the orders: what the wait for a lock let happen is seen by the next statement only. */
    private static final String ITEMS =
            "SELECT order_id, product_id, stock_status FROM order_item WHERE order_id = ANY (?)";

    private static final String ANSWER_ITEM =
            """
            UPDATE order_item SET stock_status = ?
            WHERE order_id = ? AND product_id = ? AND stock_status = 'REQUESTED'""";

    /** Whatever changes an order, it was pending before. */
    private static final String SAVE =
            """
            UPDATE orders SET status = ?, payment_key = ?, delivery_status = ?, delivery_id = ?, updated_at = now()
            WHERE order_id = ? AND status = 'PENDING'""";

    private final Rows rows;

    OrderRows(Rows rows) {
        this.rows = rows;
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}stock-response-topic",
            properties = "spring.json.value.default.type=shop.Messages$StockResponseMessage")
    public void stockResponses(List<StockResponseMessage> batch) {
        var orders = lockedWithItems(batch, StockResponseMessage::orderId);
        var answered = new ArrayList<StockResponseMessage>();
        for (var message : batch) {
            var order = orders.get(message.orderId());
            if (order == null) {
                continue;
            }
            if (order.stockAnswered(message.productId(), stockStatus(message))) {
                answered.add(message);
            }
            if (FAILED.equals(message.status())) {
                order.fail();
            }
        }
        rows.write(ANSWER_ITEM, answered, (statement, message) -> {
            statement.setString(1, stockStatus(message));
            statement.setObject(2, message.orderId());
            statement.setObject(3, message.productId());
        });
        requestDeliveries(orders.values());
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}payment-success-topic",
            properties = "spring.json.value.default.type=shop.Messages$PaymentSuccessMessage")
    public void payments(List<PaymentSuccessMessage> batch) {
        var orders = lockedWithItems(batch, PaymentSuccessMessage::orderId);
        for (var message : batch) {
            var order = orders.get(message.orderId());
            if (order != null && SUCCESS.equals(message.status())) {
                order.paid(message.paymentKey(), message.amount());
            } else if (order != null && FAILED.equals(message.status())) {
                order.fail();
            }
        }
        requestDeliveries(orders.values());
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}delivery-start-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryStartMessage")
    public void deliveryStarts(List<DeliveryStartMessage> batch) {
        var orders = locked(batch, DeliveryStartMessage::orderId);
        var completed = new ArrayList<Outgoing>();
        for (var message : batch) {
            var order = orders.get(message.orderId());
            if (order != null && order.deliveryAnswered(message.deliveryId(), STARTED.equals(message.status()))) {
                completed.add(new Outgoing(order.orderId(), order.completion()));
            }
        }
        save(orders.values());
        rows.publish("order-completed-topic", completed);
    }

    private <T> Map<UUID, Order> locked(List<T> batch, Function<T, UUID> orderId) {
        var orders = new LinkedHashMap<UUID, Order>();
        rows.find(LOCK, (row, n) -> new Order(row), batch.stream().map(orderId).toList())
                .forEach(order -> orders.put(order.orderId(), order));
        return orders;
    }

    private <T> Map<UUID, Order> lockedWithItems(List<T> batch, Function<T, UUID> orderId) {
        var orders = locked(batch, orderId);
        rows.find(
                ITEMS,
                (row, n) -> {
                    orders.get(row.getObject(1, UUID.class)).addItem(row.getObject(2, UUID.class), row.getString(3));
                    return null;
                },
                orders.keySet());
        return orders;
    }

    private void requestDeliveries(Collection<Order> orders) {
        var requests = orders.stream()
                .filter(Order::requestDelivery)
                .map(order -> new Outgoing(order.orderId(), order.deliveryRequest()))
                .toList();
        save(orders);
        rows.publish("delivery-request-topic", requests);
    }

    private void save(Collection<Order> orders) {
        rows.write(SAVE, orders.stream().filter(Order::isChanged).toList(), (statement, order) -> {
            statement.setString(1, order.status());
            statement.setString(2, order.paymentKey());
            statement.setString(3, order.deliveryStatus());
            statement.setObject(4, order.deliveryId());
            statement.setObject(5, order.orderId());
        });
    }

    private static String stockStatus(StockResponseMessage message) {
        return SUCCESS.equals(message.status()) ? "RESERVED" : "REJECTED";
    }
}
