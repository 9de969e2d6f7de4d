package shop;

import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.scheduling.annotation.Scheduled;
import org.springframework.stereotype.Component;
import org.springframework.transaction.support.TransactionTemplate;

/**
 * Publishes the outbox batch by batch. A batch's rows are gone when all of its records are acknowledged; if one is not, all stay
 * and are published again.
 */
@Component
class OutboxPublisher {
    private record Row(long id, String topic, String key, String value) {}

    private static final String TAKE =
            """
            DELETE FROM outbox
            WHERE id = ANY (ARRAY (SELECT id FROM outbox ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED))
            RETURNING id, topic, record_key, value""";

    private final JdbcTemplate database;
    private final TransactionTemplate transaction;
    private final KafkaTemplate<String, String> kafka;
    private final int rowsMax;

    OutboxPublisher(
            JdbcTemplate database,
            TransactionTemplate transaction,
            KafkaTemplate<String, String> kafka,
            @Value("${shop.outbox.batch}") int rowsMax) {
        this.database = database;
        this.transaction = transaction;
        this.kafka = kafka;
        this.rowsMax = rowsMax;
    }

    /** Publishes until nothing is left. */
    @Scheduled(fixedDelayString = "${shop.outbox.delay-ms}")
    void publish() {
        Integer published;
        do {
            published = transaction.execute(status -> publishBatch());
        } while (published != null && published > 0);
    }

    private int publishBatch() {
        List<Row> rows = database.query(
                TAKE,
                (row, n) -> new Row(row.getLong(1), row.getString(2), row.getString(3), row.getString(4)),
                rowsMax);
        rows.sort(Comparator.comparingLong(Row::id));
        var sent = rows.stream()
                .map(row -> kafka.send(row.topic(), row.key(), row.value()))
                .toArray(CompletableFuture[]::new);
        kafka.flush();
        CompletableFuture.allOf(sent).join();
        return rows.size();
    }
}
