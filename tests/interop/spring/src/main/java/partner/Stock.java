package partner;

import static partner.Messages.FAILED;
import static partner.Messages.SUCCESS;
import static partner.Messages.TYPE;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.stereotype.Component;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;
import partner.Messages.OrderedProduct;
import partner.Messages.StockDecreaseRequestMessage;
import partner.Messages.StockResponseMessage;
import partner.Messages.StockRollbackCompletedMessage;
import partner.Messages.StockRollbackRequestedMessage;

/** Takes an order's products, all or none, and gives them back; a repeated request gets the same answer and takes nothing. */
@RestController
@Profile("stock")
class Stock {
    record NewProduct(String name, int price, int quantity) {}

    record Product(UUID productId, int available) {}

    private static final String REQUESTS = "order-created";
    private static final String ROLLBACKS = "stock-rollback-requested-topic";
    private static final String GROUP = "stock-group";

    private final Map<UUID, Integer> shelf = new HashMap<>();
    private final Map<UUID, String> decided = new HashMap<>();
    private final Map<UUID, List<OrderedProduct>> taken = new HashMap<>();
    private final Publisher publisher;
    private final Bug bug;

    Stock(Publisher publisher, Bug bug) {
        this.publisher = publisher;
        this.bug = bug;
    }

    @PostMapping("/api/v1/products")
    synchronized Product add(@RequestBody NewProduct product) {
        var id = UUID.randomUUID();
        shelf.put(id, product.quantity());
        return new Product(id, product.quantity());
    }

    @GetMapping("/api/v1/products/{id}")
    synchronized Product show(@PathVariable("id") UUID id) {
        return new Product(id, shelf.get(id));
    }

    synchronized void requested(StockDecreaseRequestMessage request) {
        var status = decided.computeIfAbsent(request.orderId(), id -> decide(request));
        var message = status.equals(SUCCESS) ? "stock decreased" : "out of stock";
        for (var each : request.products()) {
            publisher.send(
                    "stock-response-topic",
                    request.orderId(),
                    new StockResponseMessage(request.orderId(), each.productId(), bug.word(status), message));
        }
        bug.strike();
    }

    synchronized void rollback(StockRollbackRequestedMessage request) {
        var given = taken.remove(request.orderId());
        if (given != null) {
            given.forEach(each -> shelf.merge(each.productId(), each.quantity(), Integer::sum));
        }
        publisher.send(
                "stock-rollback-completed-topic", request.orderId(), new StockRollbackCompletedMessage(request.orderId()));
    }

    private String decide(StockDecreaseRequestMessage request) {
        if (request.products().stream().anyMatch(each -> shelf.getOrDefault(each.productId(), 0) < each.quantity())) {
            return FAILED;
        }
        request.products().forEach(each -> shelf.merge(each.productId(), -each.quantity(), Integer::sum));
        taken.put(request.orderId(), request.products());
        return SUCCESS;
    }

    @Component
    @Profile("stock & !retryable")
    record Listener(Stock stock) {
        @KafkaListener(topics = REQUESTS, groupId = GROUP, properties = TYPE + "StockDecreaseRequestMessage")
        void requested(StockDecreaseRequestMessage request) {
            stock.requested(request);
        }

        @KafkaListener(topics = ROLLBACKS, groupId = GROUP, properties = TYPE + "StockRollbackRequestedMessage")
        void rollback(StockRollbackRequestedMessage request) {
            stock.rollback(request);
        }
    }

    @Component
    @Profile("stock & retryable")
    record RetryableListener(Stock stock) {
        @RetryableTopic
        @KafkaListener(topics = REQUESTS, groupId = GROUP, properties = TYPE + "StockDecreaseRequestMessage")
        void requested(StockDecreaseRequestMessage request) {
            stock.requested(request);
        }

        @RetryableTopic
        @KafkaListener(topics = ROLLBACKS, groupId = GROUP, properties = TYPE + "StockRollbackRequestedMessage")
        void rollback(StockRollbackRequestedMessage request) {
            stock.rollback(request);
        }
    }
}
