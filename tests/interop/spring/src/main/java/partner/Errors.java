package partner;

import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.AfterRollbackProcessor;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultAfterRollbackProcessor;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.util.backoff.FixedBackOff;

/** What becomes of a record whose listener throws; with `retryable`, @RetryableTopic says it. */
@Configuration
class Errors {
    @Bean
    @Profile("!retryable & !transactions")
    DefaultErrorHandler errorHandler(KafkaTemplate<?, ?> kafka) {
        return new DefaultErrorHandler(new DeadLetterPublishingRecoverer(kafka));
    }

    @Bean
    @Profile("transactions")
    AfterRollbackProcessor<Object, Object> afterRollback(KafkaTemplate<Object, Object> kafka) {
        return new DefaultAfterRollbackProcessor<>(
                new DeadLetterPublishingRecoverer(kafka), new FixedBackOff(0, 2), kafka, true);
    }
}
