package shop;

import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.scheduling.annotation.Scheduled;
import org.springframework.stereotype.Component;
import org.springframework.transaction.event.TransactionalEventListener;
import org.springframework.transaction.support.TransactionTemplate;

/**
 * Publishes the outbox batch by batch. A batch's rows are gone when all of its records are acknowledged; if one is not, all stay
 * and are published again. It looks every delay-ms, and with at-commit as soon as a transaction that wrote to the outbox is committed.
 */
@Component
public class OutboxPublisher {
    /** Told in each transaction that writes to the outbox. */
    public record Written() {}

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
    private final int delayMs;
    private final boolean atCommit;
    private final Semaphore commits = new Semaphore(0);

    OutboxPublisher(
            JdbcTemplate database,
            TransactionTemplate transaction,
            KafkaTemplate<String, String> kafka,
            @Value("${shop.outbox.batch}") int rowsMax,
            @Value("${shop.outbox.delay-ms}") int delayMs,
            @Value("${shop.outbox.at-commit}") boolean atCommit) {
        this.database = database;
        this.transaction = transaction;
        this.kafka = kafka;
        this.rowsMax = rowsMax;
        this.delayMs = delayMs;
        this.atCommit = atCommit;
    }

    @TransactionalEventListener
    void committed(Written written) {
        if (atCommit) {
            commits.release();
        }
    }

    /** Waits for a commit or for the delay, then publishes until nothing is left. */
    @Scheduled(fixedDelay = 1)
    void publish() throws InterruptedException {
        commits.tryAcquire(delayMs, TimeUnit.MILLISECONDS);
        int enough = atCommit ? rowsMax : 1; // a batch that is not full was the last, for what is committed later is told of
        Integer published;
        do {
            commits.drainPermits();
            published = transaction.execute(status -> publishBatch());
        } while (published != null && published >= enough || commits.availablePermits() > 0);
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
