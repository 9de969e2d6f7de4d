package shop.jdbc;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Profile;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.ParameterizedPreparedStatementSetter;
import org.springframework.stereotype.Component;
import shop.Tables;

/** A statement for each row, sent in JDBC batches; the driver makes inserts of many rows of those that insert. */
@Component
@Profile("jdbc")
class Rows extends Tables {
    private static final String ADD = "INSERT INTO outbox (topic, record_key, value) VALUES (?, ?, ?)";

    Rows(JdbcTemplate database, ObjectMapper json, @Value("${shop.topics}") String prefix) {
        super(database, json, prefix);
    }

    <T> void write(String sql, List<T> rows, ParameterizedPreparedStatementSetter<T> values) {
        if (!rows.isEmpty()) {
            database.batchUpdate(sql, rows, rows.size(), values);
        }
    }

    @Override
    protected void add(String topic, List<OutboxRow> rows) {
        write(ADD, rows, (statement, row) -> {
            statement.setString(1, topic);
            statement.setString(2, row.key());
            statement.setString(3, row.value());
        });
    }
}
