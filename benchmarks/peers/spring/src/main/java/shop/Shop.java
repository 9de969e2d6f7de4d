package shop;

import org.apache.kafka.common.TopicPartition;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.scheduling.annotation.EnableScheduling;
import org.springframework.util.backoff.FixedBackOff;

/** Order, Stock or Delivery, by profile. */
@SpringBootApplication
@EnableScheduling
public class Shop {
    private static final long RETRY_EVERY_MS = 1_000;
    private static final long RETRIES_MAX = 5;

    public static void main(String[] arguments) {
        SpringApplication.run(Shop.class, arguments);
    }

    /** A record that goes on failing ends on TOPIC-dlt, on any partition. */
    @Bean
    DefaultErrorHandler errorHandler(KafkaTemplate<?, ?> kafka) {
        var recoverer = new DeadLetterPublishingRecoverer(
                kafka, (record, error) -> new TopicPartition(record.topic() + "-dlt", -1));
        return new DefaultErrorHandler(recoverer, new FixedBackOff(RETRY_EVERY_MS, RETRIES_MAX));
    }
}
