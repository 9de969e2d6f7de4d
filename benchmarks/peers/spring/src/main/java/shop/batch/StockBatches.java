package shop.batch;

import static shop.Messages.FAILED;
import static shop.Messages.SUCCESS;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.StockDecreaseRequestMessage;
import shop.Messages.StockResponseMessage;
import shop.batch.Sets.Column;
import shop.batch.Sets.Outgoing;

/** Stock: each batch is one transaction, which locks its products in id order and decides order by order. */
@Component
@Profile("batch & stock")
class StockBatches {
    private record Decided(UUID orderId, UUID productId, int quantity, String status) {}

    private static final String FIND =
            "SELECT order_id, product_id, quantity, status FROM reservation WHERE order_id = ANY (?)";

    private static final String LOCK =
            "SELECT product_id, available FROM product WHERE product_id = ANY (?) ORDER BY product_id FOR NO KEY UPDATE";

    private static final String TAKE =
            """
            UPDATE product p SET available = t.available FROM unnest(?::uuid[], ?::int[]) AS t (product_id, available)
            WHERE p.product_id = t.product_id""";

    private static final String RESERVE =
            """
            INSERT INTO reservation (order_id, product_id, quantity, status, created_at)
            SELECT order_id, product_id, quantity, status, now()
            FROM unnest(?::uuid[], ?::uuid[], ?::int[], ?::text[]) AS t (order_id, product_id, quantity, status)""";

    private final Sets sets;

    StockBatches(Sets sets) {
        this.sets = sets;
    }

    @Transactional
    @KafkaListener(
            topics = "${shop.topics}order-created",
            properties = "spring.json.value.default.type=shop.Messages$StockDecreaseRequestMessage")
    public void requests(List<StockDecreaseRequestMessage> batch) {
        var decided = known(batch);
        var made = new ArrayList<Decided>();
        var available = locked(batch);
        var before = Map.copyOf(available);
        for (var request : batch) {
            if (!decided.containsKey(request.orderId())) {
                var lines = decide(request, available);
                decided.put(request.orderId(), lines);
                made.addAll(lines);
            }
        }
        save(made, before, available);
        sets.publish(
                "stock-response-topic",
                batch.stream()
                        .flatMap(request -> decided.get(request.orderId()).stream())
                        .map(each -> new Outgoing(
                                each.orderId(),
                                new StockResponseMessage(each.orderId(), each.productId(), each.status(), null)))
                        .toList());
    }

    private Map<UUID, List<Decided>> known(List<StockDecreaseRequestMessage> batch) {
        var found = new HashMap<UUID, List<Decided>>();
        sets.query(
                        FIND,
                        (row, n) -> new Decided(
                                row.getObject(1, UUID.class),
                                row.getObject(2, UUID.class),
                                row.getInt(3),
                                row.getString(4)),
                        Column.uuids(batch, StockDecreaseRequestMessage::orderId))
                .forEach(each -> found.computeIfAbsent(each.orderId(), id -> new ArrayList<>()).add(each));
        return found;
    }

    private Map<UUID, Integer> locked(List<StockDecreaseRequestMessage> batch) {
        var ids = batch.stream()
                .flatMap(request -> request.products().stream())
                .map(line -> line.productId())
                .distinct()
                .toList();
        var available = new LinkedHashMap<UUID, Integer>();
        sets.query(
                        LOCK,
                        (row, n) -> Map.entry(row.getObject(1, UUID.class), row.getInt(2)),
                        Column.uuids(ids, id -> id))
                .forEach(each -> available.put(each.getKey(), each.getValue()));
        return available;
    }

    /** All or nothing. */
    private static List<Decided> decide(StockDecreaseRequestMessage request, Map<UUID, Integer> available) {
        boolean enough = request.products().stream()
                .allMatch(line -> available.getOrDefault(line.productId(), 0) >= line.quantity());
        return request.products().stream()
                .map(line -> {
                    if (enough) {
                        available.merge(line.productId(), -line.quantity(), Integer::sum);
                    }
                    return new Decided(
                            request.orderId(), line.productId(), line.quantity(), enough ? SUCCESS : FAILED);
                })
                .toList();
    }

    private void save(List<Decided> made, Map<UUID, Integer> before, Map<UUID, Integer> available) {
        var changed = available.entrySet().stream()
                .filter(each -> !each.getValue().equals(before.get(each.getKey())))
                .toList();
        if (!changed.isEmpty()) {
            sets.update(TAKE, Column.uuids(changed, Map.Entry::getKey), Column.ints(changed, Map.Entry::getValue));
        }
        if (!made.isEmpty()) {
            sets.update(
                    RESERVE,
                    Column.uuids(made, Decided::orderId),
                    Column.uuids(made, Decided::productId),
                    Column.ints(made, Decided::quantity),
                    Column.texts(made, Decided::status));
        }
    }
}
