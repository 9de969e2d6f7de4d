package shop.jpa;

import static shop.Messages.FAILED;
import static shop.Messages.SUCCESS;

import jakarta.persistence.LockModeType;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.springframework.context.annotation.Profile;
import org.springframework.data.jpa.repository.JpaRepository;
import org.springframework.data.jpa.repository.Lock;
import org.springframework.data.jpa.repository.Query;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.stereotype.Service;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.OrderedProduct;
import shop.Messages.StockDecreaseRequestMessage;

/** Stock: each request is one transaction, all or nothing. A repeat gets the same answers. */
@Service
@Profile("jpa & stock")
class StockService {
    private final Products products;
    private final Reservations reservations;
    private final Outbox outbox;

    StockService(Products products, Reservations reservations, Outbox outbox) {
        this.products = products;
        this.reservations = reservations;
        this.outbox = outbox;
    }

    @Transactional
    public void decrease(StockDecreaseRequestMessage request) {
        List<Reservation> decided = reservations.findByIdOrderId(request.orderId());
        if (decided.isEmpty()) {
            decided = reservations.saveAll(decide(request));
        }
        for (Reservation each : decided) {
            outbox.add("stock-response-topic", request.orderId(), each.answer());
        }
    }

    private List<Reservation> decide(StockDecreaseRequestMessage request) {
        var ids = request.products().stream().map(OrderedProduct::productId).toList();
        Map<UUID, Product> locked =
                products.lock(ids).stream().collect(Collectors.toMap(Product::productId, Function.identity()));
        boolean enough = request.products().stream()
                .allMatch(line -> locked.containsKey(line.productId())
                        && locked.get(line.productId()).has(line.quantity()));
        return request.products().stream()
                .map(line -> {
                    if (enough) {
                        locked.get(line.productId()).take(line.quantity());
                    }
                    return new Reservation(
                            request.orderId(), line.productId(), line.quantity(), enough ? SUCCESS : FAILED);
                })
                .toList();
    }
}

@Profile("jpa & stock")
interface Products extends JpaRepository<Product, UUID> {
    @Lock(LockModeType.PESSIMISTIC_WRITE)
    @Query("select p from Product p where p.productId in :ids order by p.productId")
    List<Product> lock(Collection<UUID> ids);
}

@Profile("jpa & stock")
interface Reservations extends JpaRepository<Reservation, Reservation.Id> {
    List<Reservation> findByIdOrderId(UUID orderId);
}

@Component
@Profile("jpa & stock")
class StockListener {
    private final StockService service;

    StockListener(StockService service) {
        this.service = service;
    }

    @KafkaListener(
            topics = "${shop.topics}order-created",
            properties = "spring.json.value.default.type=shop.Messages$StockDecreaseRequestMessage")
    void orderCreated(StockDecreaseRequestMessage message) {
        service.decrease(message);
    }
}
