package shop;

import static shop.Messages.STARTED;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryRequestMessage;
import shop.Messages.DeliveryStartMessage;
import shop.Tables.Outgoing;

/** Delivery: each batch is one transaction. */
public abstract class DeliveryBatches {
    protected record Delivery(UUID deliveryId, DeliveryRequestMessage request) {}

    private static final String FIND = "SELECT order_id, delivery_id FROM delivery WHERE order_id = ANY (?)";

    private final Tables tables;

    protected DeliveryBatches(Tables tables) {
        this.tables = tables;
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}delivery-request-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryRequestMessage")
    public void requests(List<DeliveryRequestMessage> batch) {
        var deliveryIds = known(batch);
        var added = new ArrayList<Delivery>();
        for (var request : batch) {
            if (!deliveryIds.containsKey(request.orderId())) {
                var deliveryId = UUID.randomUUID();
                deliveryIds.put(request.orderId(), deliveryId);
                added.add(new Delivery(deliveryId, request));
            }
        }
        if (!added.isEmpty()) {
            start(added);
        }
        tables.publish(
                "delivery-start-topic",
                batch.stream()
                        .map(request -> new Outgoing(
                                request.orderId(),
                                new DeliveryStartMessage(
                                        request.orderId(), deliveryIds.get(request.orderId()), STARTED)))
                        .toList());
    }

    protected abstract void start(List<Delivery> added);

    private Map<UUID, UUID> known(List<DeliveryRequestMessage> batch) {
        var found = new HashMap<UUID, UUID>();
        tables.find(
                        FIND,
                        (row, n) -> Map.entry(row.getObject(1, UUID.class), row.getObject(2, UUID.class)),
                        batch.stream().map(DeliveryRequestMessage::orderId).toList())
                .forEach(each -> found.put(each.getKey(), each.getValue()));
        return found;
    }
}
