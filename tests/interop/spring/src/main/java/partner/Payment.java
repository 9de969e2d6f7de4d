package partner;

import static partner.Messages.FAILED;
import static partner.Messages.SUCCESS;
import static partner.Messages.TYPE;

import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Profile;
import org.springframework.http.MediaType;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.stereotype.Component;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestClient;
import partner.Messages.PaymentCancelRequestedMessage;
import partner.Messages.PaymentCancelledMessage;
import partner.Messages.PaymentSuccessMessage;

/** Asks the gateway while the customer waits, and publishes the outcome afterwards; gives money back when Order asks for it. */
@RestController
@Profile("payment")
class Payment {
    record Confirm(String paymentKey, UUID orderId, Integer amount) {}

    record Confirmed(UUID orderId, String paymentKey, String status) {}

    record Cancel(String cancelReason, Integer cancelAmount) {}

    private static final String CANCELS = "payment-cancel-requested-topic";
    private static final String GROUP = "payment-group";

    private final Map<String, Boolean> refunded = new ConcurrentHashMap<>();
    private final Publisher publisher;
    private final Bug bug;
    private final RestClient gateway;

    Payment(
            Publisher publisher,
            Bug bug,
            @Value("${partner.gateway}") String url,
            @Value("${partner.gateway-key}") String secretKey) {
        this.publisher = publisher;
        this.bug = bug;
        gateway = RestClient.builder()
                .baseUrl(url)
                .defaultHeaders(headers -> headers.setBasicAuth(secretKey, ""))
                .build();
    }

    @PostMapping("/api/v1/payments/confirm")
    Confirmed confirm(@RequestBody Confirm request) {
        var status = ask("/v1/payments/confirm", request) ? SUCCESS : FAILED;
        publisher.send(
                "payment-success-topic",
                request.orderId(),
                new PaymentSuccessMessage(request.orderId(), request.paymentKey(), request.amount(), bug.word(status)));
        return new Confirmed(request.orderId(), request.paymentKey(), status);
    }

    void cancel(PaymentCancelRequestedMessage request) {
        var done = refunded.computeIfAbsent(
                request.paymentKey(),
                key -> ask("/v1/payments/" + key + "/cancel", new Cancel(request.reason(), request.amount())));
        publisher.send(
                "payment-cancelled-topic",
                request.orderId(),
                new PaymentCancelledMessage(
                        request.orderId(),
                        request.paymentKey(),
                        request.amount(),
                        done ? SUCCESS : FAILED,
                        null,
                        done ? 0 : null,
                        request.requestId()));
        bug.strike();
    }

    private boolean ask(String path, Object body) {
        return gateway.post()
                .uri(path)
                .contentType(MediaType.APPLICATION_JSON)
                .body(body)
                .exchange((asked, answer) -> answer.getStatusCode().is2xxSuccessful());
    }

    @Component
    @Profile("payment & !retryable")
    record Listener(Payment payment) {
        @KafkaListener(topics = CANCELS, groupId = GROUP, properties = TYPE + "PaymentCancelRequestedMessage")
        void cancel(PaymentCancelRequestedMessage request) {
            payment.cancel(request);
        }
    }

    @Component
    @Profile("payment & retryable")
    record RetryableListener(Payment payment) {
        @RetryableTopic
        @KafkaListener(topics = CANCELS, groupId = GROUP, properties = TYPE + "PaymentCancelRequestedMessage")
        void cancel(PaymentCancelRequestedMessage request) {
            payment.cancel(request);
        }
    }
}
