package shop.batch;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Collection;
import java.util.List;
import java.util.UUID;
import java.util.function.Function;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Profile;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.RowMapper;
import org.springframework.stereotype.Component;
import shop.Tables;

/** Statements over whole columns: one round trip for any number of rows. */
@Component
@Profile("batch")
class Sets extends Tables {
    /** One array parameter; `type` is PostgreSQL's name of its elements. */
    record Column(String type, Object[] values) {
        static <T> Column uuids(Collection<T> of, Function<T, UUID> value) {
            return new Column("uuid", of.stream().map(value).toArray());
        }

        static <T> Column texts(Collection<T> of, Function<T, String> value) {
            return new Column("text", of.stream().map(value).toArray());
        }

        static <T> Column ints(Collection<T> of, Function<T, Integer> value) {
            return new Column("int4", of.stream().map(value).toArray());
        }
    }

    private static final String ADD =
            "INSERT INTO outbox (topic, record_key, value) SELECT ?, * FROM unnest(?::text[], ?::text[])";

    Sets(JdbcTemplate database, ObjectMapper json, @Value("${shop.topics}") String prefix) {
        super(database, json, prefix);
    }

    void update(String sql, Column... columns) {
        database.update(sql, statement -> bind(statement, 1, columns));
    }

    <T> List<T> query(String sql, RowMapper<T> row, Column... columns) {
        return database.query(sql, statement -> bind(statement, 1, columns), row);
    }

    @Override
    protected void add(String topic, List<OutboxRow> rows) {
        database.update(ADD, statement -> {
            statement.setString(1, topic);
            bind(statement, 2, Column.texts(rows, OutboxRow::key), Column.texts(rows, OutboxRow::value));
        });
    }

    private static void bind(PreparedStatement statement, int from, Column... columns) throws SQLException {
        for (int n = 0; n < columns.length; n++) {
            var array = statement.getConnection().createArrayOf(columns[n].type(), columns[n].values());
            statement.setArray(from + n, array);
        }
    }
}
