package shop.jpa;

import jakarta.persistence.Embeddable;
import jakarta.persistence.EmbeddedId;
import jakarta.persistence.Entity;
import jakarta.persistence.EnumType;
import jakarta.persistence.Enumerated;
import jakarta.persistence.FetchType;
import jakarta.persistence.JoinColumn;
import jakarta.persistence.ManyToOne;
import jakarta.persistence.MapsId;
import jakarta.persistence.Table;
import java.io.Serializable;
import java.util.UUID;
import org.hibernate.annotations.DynamicUpdate;
import shop.Messages.OrderedProduct;

@Entity
@Table(name = "order_item")
@DynamicUpdate
class OrderItem {
    enum StockStatus { REQUESTED, RESERVED, REJECTED }

    @Embeddable
    record Id(UUID orderId, UUID productId) implements Serializable {}

    @EmbeddedId private Id id;

    @ManyToOne(fetch = FetchType.LAZY)
    @MapsId("orderId")
    @JoinColumn(name = "order_id")
    private Order order;

    private int quantity;
    @Enumerated(EnumType.STRING) private StockStatus stockStatus;

    protected OrderItem() {}

    OrderItem(Order order, UUID productId, int quantity) {
        this.id = new Id(order.orderId(), productId);
        this.order = order;
        this.quantity = quantity;
        this.stockStatus = StockStatus.REQUESTED;
    }

    OrderedProduct ordered() {
        return new OrderedProduct(id.productId(), quantity);
    }

    UUID productId() {
        return id.productId();
    }

    boolean isRequested() {
        return stockStatus == StockStatus.REQUESTED;
    }

    boolean isReserved() {
        return stockStatus == StockStatus.RESERVED;
    }

    void answered(boolean reserved) {
        stockStatus = reserved ? StockStatus.RESERVED : StockStatus.REJECTED;
    }
}
