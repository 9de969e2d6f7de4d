-- Run once by PostgreSQL's image, when its data folder is empty.
CREATE DATABASE ordersaga_order;
CREATE DATABASE ordersaga_stock;
CREATE DATABASE ordersaga_payment;
CREATE DATABASE ordersaga_delivery;
