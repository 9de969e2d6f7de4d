package shop.jdbc;

import java.util.List;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;
import shop.StockBatches;

/** Stock's rows one by one. */
@Component
@Profile("jdbc & stock")
class StockRows extends StockBatches {
    private static final String TAKE = "UPDATE product SET available = ? WHERE product_id = ?";

    private static final String RESERVE =
            "INSERT INTO reservation (order_id, product_id, quantity, status, created_at) VALUES (?, ?, ?, ?, now())";

    private final Rows rows;

    StockRows(Rows rows) {
        super(rows);
        this.rows = rows;
    }

    @Override
    protected void take(List<Left> changed) {
        rows.write(TAKE, changed, (statement, left) -> {
            statement.setInt(1, left.available());
            statement.setObject(2, left.productId());
        });
    }

    @Override
    protected void reserve(List<Decided> made) {
        rows.write(RESERVE, made, (statement, decided) -> {
            statement.setObject(1, decided.orderId());
            statement.setObject(2, decided.productId());
            statement.setInt(3, decided.quantity());
            statement.setString(4, decided.status());
        });
    }
}
