package shop.jpa;

import java.util.UUID;
import org.springframework.context.annotation.Profile;
import org.springframework.http.HttpStatus;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;

/** Orders are placed over HTTP, and answered at their commit. */
@RestController
@Profile("jpa & door")
class OrderController {
    record Placed(UUID orderId, String status) {}

    private final OrderService service;

    OrderController(OrderService service) {
        this.service = service;
    }

    @PostMapping("/api/v1/orders")
    @ResponseStatus(HttpStatus.CREATED)
    Placed place(@RequestHeader("User-Id") UUID customerId, @RequestBody PlaceOrder body) {
        Order order = service.place(customerId, body);
        return new Placed(order.orderId(), order.status());
    }
}
