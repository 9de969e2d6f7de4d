package shop.batch;

import java.util.List;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;
import shop.StockBatches;
import shop.batch.Sets.Column;

/** Stock's rows as sets. */
@Component
@Profile("batch & stock")
class StockSets extends StockBatches {
    private static final String TAKE =
            """
            UPDATE product p SET available = t.available FROM unnest(?::uuid[], ?::int[]) AS t (product_id, available)
            WHERE p.product_id = t.product_id""";

    private static final String RESERVE =
            """
            INSERT INTO reservation (order_id, product_id, quantity, status, created_at)
            SELECT order_id, product_id, quantity, status, now()
            FROM unnest(?::uuid[], ?::uuid[], ?::int[], ?::text[]) AS t (order_id, product_id, quantity, status)""";

    private final Sets sets;

    StockSets(Sets sets) {
        super(sets);
        this.sets = sets;
    }

    @Override
    protected void take(List<Left> changed) {
        sets.update(TAKE, Column.uuids(changed, Left::productId), Column.ints(changed, Left::available));
    }

    @Override
    protected void reserve(List<Decided> made) {
        sets.update(
                RESERVE,
                Column.uuids(made, Decided::orderId),
                Column.uuids(made, Decided::productId),
                Column.ints(made, Decided::quantity),
                Column.texts(made, Decided::status));
    }
}
