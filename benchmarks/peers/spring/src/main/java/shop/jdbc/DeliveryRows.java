package shop.jdbc;

import java.util.List;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;
import shop.DeliveryBatches;

/** Delivery's rows one by one. */
@Component
@Profile("jdbc & delivery")
class DeliveryRows extends DeliveryBatches {
    private static final String START =
            """
            INSERT INTO delivery (delivery_id, order_id, customer_id, status, tracking_number, address, address_detail,
                zipcode, phone, name, delivery_memo, created_at)
            VALUES (?, ?, ?, 'STARTED', ?, ?, ?, ?, ?, ?, ?, now())""";

    private final Rows rows;

    DeliveryRows(Rows rows) {
        super(rows);
        this.rows = rows;
    }

    @Override
    protected void start(List<Delivery> added) {
        rows.write(START, added, (statement, delivery) -> {
            var request = delivery.request();
            statement.setObject(1, delivery.deliveryId());
            statement.setObject(2, request.orderId());
            statement.setObject(3, request.customerId());
            statement.setString(4, "TRK" + delivery.deliveryId().toString().substring(0, 13));
            statement.setString(5, request.address());
            statement.setString(6, request.addressDetail());
            statement.setString(7, request.zipcode());
            statement.setString(8, request.phone());
            statement.setString(9, request.name());
            statement.setString(10, request.deliveryMemo());
        });
    }
}
