package shop.jpa;

import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.SequenceGenerator;
import jakarta.persistence.Table;
import java.time.Instant;

@Entity
@Table(name = "outbox")
class OutboxRecord {
    @Id
    @GeneratedValue(strategy = GenerationType.SEQUENCE, generator = "outbox")
    @SequenceGenerator(name = "outbox", sequenceName = "outbox_seq", allocationSize = 50)
    private Long id;

    private String topic;
    private String recordKey;
    private String value;
    private Instant createdAt = Instant.now();

    protected OutboxRecord() {}

    OutboxRecord(String topic, String recordKey, String value) {
        this.topic = topic;
        this.recordKey = recordKey;
        this.value = value;
    }
}
