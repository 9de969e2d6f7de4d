package shop.batch;

import java.util.List;
import org.springframework.context.annotation.Profile;
import org.springframework.stereotype.Component;
import shop.DeliveryBatches;
import shop.Messages.DeliveryRequestMessage;
import shop.batch.Sets.Column;

/** Delivery's rows as sets. */
@Component
@Profile("batch & delivery")
class DeliverySets extends DeliveryBatches {
    private static final String START =
            """
            INSERT INTO delivery (delivery_id, order_id, customer_id, status, tracking_number, address, address_detail,
                zipcode, phone, name, delivery_memo, created_at)
            SELECT delivery_id, order_id, customer_id, 'STARTED', 'TRK' || left(delivery_id::text, 13), address,
                address_detail, zipcode, phone, name, delivery_memo, now()
            FROM unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[])
                AS t (delivery_id, order_id, customer_id, address, address_detail, zipcode, phone, name, delivery_memo)""";

    private final Sets sets;

    DeliverySets(Sets sets) {
        super(sets);
        this.sets = sets;
    }

    @Override
    protected void start(List<Delivery> added) {
        var requests = added.stream().map(Delivery::request).toList();
        sets.update(
                START,
                Column.uuids(added, Delivery::deliveryId),
                Column.uuids(requests, DeliveryRequestMessage::orderId),
                Column.uuids(requests, DeliveryRequestMessage::customerId),
                Column.texts(requests, DeliveryRequestMessage::address),
                Column.texts(requests, DeliveryRequestMessage::addressDetail),
                Column.texts(requests, DeliveryRequestMessage::zipcode),
                Column.texts(requests, DeliveryRequestMessage::phone),
                Column.texts(requests, DeliveryRequestMessage::name),
                Column.texts(requests, DeliveryRequestMessage::deliveryMemo));
    }
}
