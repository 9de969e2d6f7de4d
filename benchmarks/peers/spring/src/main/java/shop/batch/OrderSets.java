package shop.batch;

import static shop.Messages.COMPLETED_CODE;
import static shop.Messages.FAILED;
import static shop.Messages.SUCCESS;

import java.util.List;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.DeliveryStartMessage;
import shop.Messages.OrderCompletedMessage;
import shop.Messages.PaymentSuccessMessage;
import shop.Messages.StockResponseMessage;
import shop.Tables.Outgoing;
import shop.batch.Sets.Column;

/** Order: each batch of one topic is one transaction, which locks its orders in id order and changes them as a set. */
@Component
@Profile("batch & order")
class OrderSets {
    private static final String LOCK =
            "SELECT order_id FROM orders WHERE order_id = ANY (?) ORDER BY order_id FOR NO KEY UPDATE";

    private static final String ANSWER_ITEMS =
            """
            UPDATE order_item i SET stock_status = CASE t.status WHEN 'SUCCESS' THEN 'RESERVED' ELSE 'REJECTED' END
            FROM unnest(?::uuid[], ?::uuid[], ?::text[]) AS t (order_id, product_id, status)
            WHERE i.order_id = t.order_id AND i.product_id = t.product_id AND i.stock_status = 'REQUESTED'""";

    private static final String FAIL =
            "UPDATE orders SET status = 'FAILED', updated_at = now() WHERE order_id = ANY (?) AND status = 'PENDING'";

    private static final String PAY =
            """
            UPDATE orders o SET payment_key = t.payment_key, updated_at = now(),
                status = CASE WHEN t.amount = o.total_amount THEN o.status ELSE 'FAILED' END
            FROM unnest(?::uuid[], ?::text[], ?::int[]) AS t (order_id, payment_key, amount)
            WHERE o.order_id = t.order_id AND o.payment_key IS NULL AND o.status = 'PENDING'""";

    private static final String REQUEST_DELIVERY =
            """
            UPDATE orders o SET delivery_status = 'REQUESTED', updated_at = now()
            WHERE order_id = ANY (?) AND status = 'PENDING' AND delivery_status = 'NOT_REQUESTED'
                AND payment_key IS NOT NULL
                AND NOT EXISTS (
                    SELECT FROM order_item i WHERE i.order_id = o.order_id AND i.stock_status <> 'RESERVED')
            RETURNING order_id, customer_id, address, address_detail, zipcode, phone, name, delivery_memo""";

    private static final String ANSWER_DELIVERY =
            """
            UPDATE orders o SET delivery_id = t.delivery_id, delivery_status = t.status, updated_at = now(),
                status = CASE t.status WHEN 'STARTED' THEN 'COMPLETED' ELSE 'FAILED' END
            FROM unnest(?::uuid[], ?::uuid[], ?::text[]) AS t (order_id, delivery_id, status)
            WHERE o.order_id = t.order_id AND o.delivery_status = 'REQUESTED' AND o.status = 'PENDING'
            RETURNING o.status, o.order_id, o.customer_id, o.total_amount, o.order_name""";

    private final Sets sets;

    OrderSets(Sets sets) {
        this.sets = sets;
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}stock-response-topic",
            properties = "spring.json.value.default.type=shop.Messages$StockResponseMessage")
    public void stockResponses(List<StockResponseMessage> batch) {
        var ids = Column.uuids(batch, StockResponseMessage::orderId);
        lock(ids);
        sets.update(
                ANSWER_ITEMS,
                ids,
                Column.uuids(batch, StockResponseMessage::productId),
                Column.texts(batch, StockResponseMessage::status));
        fail(batch.stream().filter(each -> FAILED.equals(each.status())).map(StockResponseMessage::orderId).toList());
        requestDeliveries(ids);
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}payment-success-topic",
            properties = "spring.json.value.default.type=shop.Messages$PaymentSuccessMessage")
    public void payments(List<PaymentSuccessMessage> batch) {
        var ids = Column.uuids(batch, PaymentSuccessMessage::orderId);
        lock(ids);
        var paid = batch.stream().filter(each -> SUCCESS.equals(each.status())).toList();
        sets.update(
                PAY,
                Column.uuids(paid, PaymentSuccessMessage::orderId),
                Column.texts(paid, PaymentSuccessMessage::paymentKey),
                Column.ints(paid, PaymentSuccessMessage::amount));
        fail(batch.stream().filter(each -> FAILED.equals(each.status())).map(PaymentSuccessMessage::orderId).toList());
        requestDeliveries(ids);
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}delivery-start-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryStartMessage")
    public void deliveryStarts(List<DeliveryStartMessage> batch) {
        var ids = Column.uuids(batch, DeliveryStartMessage::orderId);
        lock(ids);
        var completed = sets.query(
                ANSWER_DELIVERY,
                (row, n) -> "COMPLETED".equals(row.getString(1))
                        ? new Outgoing(
                                row.getObject(2, UUID.class),
                                new OrderCompletedMessage(
                                        row.getObject(2, UUID.class),
                                        row.getObject(3, UUID.class),
                                        COMPLETED_CODE,
                                        row.getInt(4),
                                        row.getString(5)))
                        : null,
                ids,
                Column.uuids(batch, DeliveryStartMessage::deliveryId),
                Column.texts(batch, DeliveryStartMessage::status));
        completed.removeIf(each -> each == null);
        sets.publish("order-completed-topic", completed);
    }

    private void lock(Column orderIds) {
        sets.query(LOCK, (row, n) -> null, orderIds);
    }

    private void fail(List<UUID> orderIds) {
        if (!orderIds.isEmpty()) {
            sets.update(FAIL, Column.uuids(orderIds, id -> id));
        }
    }

    private void requestDeliveries(Column orderIds) {
        sets.publish("delivery-request-topic", sets.query(REQUEST_DELIVERY, (row, n) -> {
            var orderId = row.getObject(1, UUID.class);
            return new Outgoing(
                    orderId,
                    new DeliveryRequestMessage(
                            orderId,
                            row.getObject(2, UUID.class),
                            row.getString(3),
                            row.getString(4),
                            row.getString(5),
                            row.getString(6),
                            row.getString(7),
                            row.getString(8)));
        }, orderIds));
    }
}
