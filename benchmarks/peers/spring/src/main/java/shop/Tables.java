package shop;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Collection;
import java.util.List;
import java.util.UUID;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.RowMapper;

/** The tables as batch listeners use them: read for many ids at once, and written in a way that is for the classes below. */
public abstract class Tables {
    /** A record to publish. */
    public record Outgoing(UUID orderId, Object message) {}

    /** The same as the outbox has it. */
    protected record OutboxRow(String key, String value) {}

    protected final JdbcTemplate database;
    private final ObjectMapper json;
    private final String prefix;

    protected Tables(JdbcTemplate database, ObjectMapper json, String prefix) {
        this.database = database;
        this.json = json;
        this.prefix = prefix;
    }

    /** The one parameter is an array of ids. */
    public <T> List<T> find(String sql, RowMapper<T> row, Collection<UUID> ids) {
        return database.query(
                sql,
                statement -> statement.setArray(
                        1, statement.getConnection().createArrayOf("uuid", ids.toArray())),
                row);
    }

    public void publish(String topic, List<Outgoing> records) {
        if (!records.isEmpty()) {
            var rows = records.stream()
                    .map(each -> new OutboxRow(each.orderId().toString(), written(each.message())))
                    .toList();
            add(prefix + topic, rows);
        }
    }

    protected abstract void add(String topic, List<OutboxRow> rows);

    private String written(Object message) {
        try {
            return json.writeValueAsString(message);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }
}
