package shop.jpa;

import java.util.List;
import shop.Messages.OrderedProduct;

/** The body of a POST. */
record PlaceOrder(
        String orderName,
        int totalAmount,
        String address,
        String addressDetail,
        String zipcode,
        String phone,
        String name,
        String deliveryMemo,
        List<OrderedProduct> items) {}
