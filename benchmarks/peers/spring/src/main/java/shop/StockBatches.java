package shop;

import static shop.Messages.FAILED;
import static shop.Messages.SUCCESS;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.OrderedProduct;
import shop.Messages.StockDecreaseRequestMessage;
import shop.Messages.StockResponseMessage;
import shop.Tables.Outgoing;

/** Stock: each batch is one transaction, which locks its products in id order and decides order by order. */
public abstract class StockBatches {
    protected record Decided(UUID orderId, UUID productId, int quantity, String status) {}

    protected record Left(UUID productId, int available) {}

    private static final String FIND =
            "SELECT order_id, product_id, quantity, status FROM reservation WHERE order_id = ANY (?)";

    private static final String LOCK =
            "SELECT product_id, available FROM product WHERE product_id = ANY (?) ORDER BY product_id FOR NO KEY UPDATE";

    private final Tables tables;

    protected StockBatches(Tables tables) {
        this.tables = tables;
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
        var changed = available.entrySet().stream()
                .filter(each -> !each.getValue().equals(before.get(each.getKey())))
                .map(each -> new Left(each.getKey(), each.getValue()))
                .toList();
        if (!changed.isEmpty()) {
            take(changed);
        }
        if (!made.isEmpty()) {
            reserve(made);
        }
        tables.publish(
                "stock-response-topic",
                batch.stream()
                        .flatMap(request -> decided.get(request.orderId()).stream())
                        .map(each -> new Outgoing(
                                each.orderId(),
                                new StockResponseMessage(each.orderId(), each.productId(), each.status(), null)))
                        .toList());
    }

    protected abstract void take(List<Left> changed);

    protected abstract void reserve(List<Decided> made);

    private Map<UUID, List<Decided>> known(List<StockDecreaseRequestMessage> batch) {
        var found = new HashMap<UUID, List<Decided>>();
        tables.find(
                        FIND,
                        (row, n) -> new Decided(
                                row.getObject(1, UUID.class),
                                row.getObject(2, UUID.class),
                                row.getInt(3),
                                row.getString(4)),
                        batch.stream().map(StockDecreaseRequestMessage::orderId).toList())
                .forEach(each -> found.computeIfAbsent(each.orderId(), id -> new ArrayList<>()).add(each));
        return found;
    }

    private Map<UUID, Integer> locked(List<StockDecreaseRequestMessage> batch) {
        var ids = batch.stream()
                .flatMap(request -> request.products().stream())
                .map(OrderedProduct::productId)
                .distinct()
                .toList();
        var available = new LinkedHashMap<UUID, Integer>();
        tables.find(LOCK, (row, n) -> new Left(row.getObject(1, UUID.class), row.getInt(2)), ids)
                .forEach(each -> available.put(each.productId(), each.available()));
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
}
