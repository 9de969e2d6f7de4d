package shop.jpa;

import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import java.util.UUID;
import org.hibernate.annotations.DynamicUpdate;

@Entity
@DynamicUpdate
class Product {
    @Id private UUID productId;
    private String name;
    private int price;
    private int available;

    protected Product() {}

    UUID productId() {
        return productId;
    }

    boolean has(int quantity) {
        return available >= quantity;
    }

    void take(int quantity) {
        available -= quantity;
    }
}
