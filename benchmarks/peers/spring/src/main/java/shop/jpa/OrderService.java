package shop.jpa;

import static shop.Messages.COMPLETED_CODE;
import static shop.Messages.STARTED;
import static shop.Messages.SUCCESS;

import jakarta.persistence.EntityManager;
import jakarta.persistence.LockModeType;
import java.util.Optional;
import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.data.jpa.repository.JpaRepository;
import org.springframework.data.jpa.repository.Lock;
import org.springframework.data.jpa.repository.Query;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Component;
import org.springframework.stereotype.Service;
import org.springframework.transaction.annotation.Transactional;
import shop.Messages.DeliveryStartMessage;
import shop.Messages.PaymentSuccessMessage;
import shop.Messages.StockResponseMessage;

/** Order: each POST and each message is one transaction, which changes the order, under its lock, and writes what goes out. */
@Service
@Profile("jpa & order")
class OrderService {
    private final Orders orders;
    private final EntityManager entities;
    private final Outbox outbox;

    OrderService(Orders orders, EntityManager entities, Outbox outbox) {
        this.orders = orders;
        this.entities = entities;
        this.outbox = outbox;
    }

    @Transactional
    public Order place(UUID customerId, PlaceOrder body) {
        Order order = new Order(customerId, body);
        entities.persist(order);
        outbox.add("order-created", order.orderId(), order.stockRequest());
        return order;
    }

    @Transactional
    public void handleStockResponse(StockResponseMessage message) {
        Order order = locked(message.orderId());
        if (order.stockAnswered(message.productId(), SUCCESS.equals(message.status()))) {
            goOn(message.orderId(), order);
        }
    }

    @Transactional
    public void handlePayment(PaymentSuccessMessage message) {
        Order order = locked(message.orderId());
        if (!SUCCESS.equals(message.status())) {
            order.fail();
        } else if (order.paid(message.paymentKey(), message.amount())) {
            goOn(message.orderId(), order);
        }
    }

    @Transactional
    public void handleDeliveryStart(DeliveryStartMessage message) {
        Order order = locked(message.orderId());
        if (order.deliveryAnswered(message.deliveryId(), STARTED.equals(message.status()))) {
            outbox.add("order-completed-topic", message.orderId(), order.completion(COMPLETED_CODE));
        }
    }

    private void goOn(UUID orderId, Order order) {
        if (order.requestDelivery()) {
            outbox.add("delivery-request-topic", orderId, order.deliveryRequest());
        }
    }

    private Order locked(UUID orderId) {
        return orders.lock(orderId).orElseThrow(() -> new IllegalArgumentException("no order " + orderId));
    }
}

@Profile("jpa & order")
interface Orders extends JpaRepository<Order, UUID> {
    @Lock(LockModeType.PESSIMISTIC_WRITE)
    @Query("select o from Order o join fetch o.items where o.orderId = :orderId")
    Optional<Order> lock(UUID orderId);
}

@Component
@Profile("jpa & order")
class OrderListeners {
    private final OrderService service;

    OrderListeners(OrderService service) {
        this.service = service;
    }

    @KafkaListener(
            topics = "${shop.topics}stock-response-topic",
            properties = "spring.json.value.default.type=shop.Messages$StockResponseMessage")
    void stockResponse(StockResponseMessage message) {
        service.handleStockResponse(message);
    }

    @KafkaListener(
            topics = "${shop.topics}payment-success-topic",
            properties = "spring.json.value.default.type=shop.Messages$PaymentSuccessMessage")
    void payment(PaymentSuccessMessage message) {
        service.handlePayment(message);
    }

    @KafkaListener(
            topics = "${shop.topics}delivery-start-topic",
            properties = "spring.json.value.default.type=shop.Messages$DeliveryStartMessage")
    void deliveryStart(DeliveryStartMessage message) {
        service.handleDeliveryStart(message);
    }
}
