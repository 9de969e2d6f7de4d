package shop.batch;

import static shop.Messages.STARTED;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.DeliveryStartMessage;
import shop.batch.Sets.Column;
import shop.batch.Sets.Outgoing;

/** Delivery: each batch is one transaction. */
@Component
@Profile("batch & delivery")
class DeliveryBatches {
    private static final String FIND = "SELECT order_id, delivery_id FROM delivery WHERE order_id = ANY (?)";

    private static final String START =
            """
            INSERT INTO delivery (delivery_id, order_id, customer_id, status, tracking_number, address, address_detail,
                zipcode, phone, name, delivery_memo, created_at)
            SELECT delivery_id, order_id, customer_id, 'STARTED', 'TRK' || left(delivery_id::text, 13), address,
                address_detail, zipcode, phone, name, delivery_memo, now()
            FROM unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[])
                AS t (delivery_id, order_id, customer_id, address, address_detail, zipcode, phone, name, delivery_memo)""";

    private final Sets sets;

    DeliveryBatches(Sets sets) {
        this.sets = sets;
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}delivery-request-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryRequestMessage")
    public void requests(List<DeliveryRequestMessage> batch) {
        var deliveryIds = known(batch);
        var added = new LinkedHashMap<UUID, DeliveryRequestMessage>();
        for (var request : batch) {
            if (deliveryIds.putIfAbsent(request.orderId(), UUID.randomUUID()) == null) {
                added.put(request.orderId(), request);
            }
        }
        if (!added.isEmpty()) {
            start(List.copyOf(added.values()), deliveryIds);
        }
        sets.publish(
                "delivery-start-topic",
                batch.stream()
                        .map(request -> new Outgoing(
                                request.orderId(),
                                new DeliveryStartMessage(
                                        request.orderId(), deliveryIds.get(request.orderId()), STARTED)))
                        .toList());
    }

    private Map<UUID, UUID> known(List<DeliveryRequestMessage> batch) {
        var found = new HashMap<UUID, UUID>();
        sets.query(
                        FIND,
                        (row, n) -> Map.entry(row.getObject(1, UUID.class), row.getObject(2, UUID.class)),
                        Column.uuids(batch, DeliveryRequestMessage::orderId))
                .forEach(each -> found.put(each.getKey(), each.getValue()));
        return found;
    }

    private void start(List<DeliveryRequestMessage> requests, Map<UUID, UUID> deliveryIds) {
        sets.update(
                START,
                Column.uuids(requests, each -> deliveryIds.get(each.orderId())),
                Column.uuids(requests, DeliveryRequestMessage::orderId),
                Column.uuids(requests, DeliveryRequestMessage::customerId),
                Column.texts(requests, DeliveryRequestMessage::address),
                Column.texts(requests, DeliveryRequestMessage::addressDetail),
                Column.texts(requests, DeliveryRequestMessage::zipcode),
                Column.texts(requests, DeliveryRequestMessage::phone),
                Column.texts(requests, DeliveryRequestMessage::name),
                Column.texts(requests, DeliveryRequestMessage::deliveryMemo));
    }
}
