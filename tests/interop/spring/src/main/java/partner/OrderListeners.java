package partner;

import static partner.Messages.TYPE;

import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.annotation.RetryableTopic;
import org.springframework.stereotype.Component;
import partner.Messages.DeliveryStartMessage;
import partner.Messages.PaymentSuccessMessage;
import partner.Messages.StockResponseMessage;

/** One listener a topic. */
interface OrderListeners {
    String GROUP = "order-group";

    @Component
    @Profile("order & !retryable")
    record Listener(Order order) {
        @KafkaListener(topics = "stock-response-topic", groupId = GROUP, properties = TYPE + "StockResponseMessage")
        void stockAnswered(StockResponseMessage answer) {
            order.stockAnswered(answer);
        }

        @KafkaListener(topics = "payment-success-topic", groupId = GROUP, properties = TYPE + "PaymentSuccessMessage")
        void paymentAnswered(PaymentSuccessMessage answer) {
            order.paymentAnswered(answer);
        }

        @KafkaListener(topics = "delivery-start-topic", groupId = GROUP, properties = TYPE + "DeliveryStartMessage")
        void deliveryAnswered(DeliveryStartMessage answer) {
            order.deliveryAnswered(answer);
        }
    }

    @Component
    @Profile("order & retryable")
    record RetryableListener(Order order) {
        @RetryableTopic
        @KafkaListener(topics = "stock-response-topic", groupId = GROUP, properties = TYPE + "StockResponseMessage")
        void stockAnswered(StockResponseMessage answer) {
            order.stockAnswered(answer);
        }

        @RetryableTopic
        @KafkaListener(topics = "payment-success-topic", groupId = GROUP, properties = TYPE + "PaymentSuccessMessage")
        void paymentAnswered(PaymentSuccessMessage answer) {
            order.paymentAnswered(answer);
        }

        @RetryableTopic
        @KafkaListener(topics = "delivery-start-topic", groupId = GROUP, properties = TYPE + "DeliveryStartMessage")
        void deliveryAnswered(DeliveryStartMessage answer) {
            order.deliveryAnswered(answer);
        }
    }
}
