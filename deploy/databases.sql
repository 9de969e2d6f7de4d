-- The databases and roles of the four services. A superuser runs it once: psql -f deploy/databases.sql
-- (PostgreSQL's image does so when its data folder is empty.)
--
-- Each service has a role that owns its database and migrates it, and one that its processes run as, which may not create, alter or
-- drop anything. `ordersaga migrate` gives the second its rights on the tables. The audit's role may only read.
-- No role has a password yet, so nobody can sign in as one: give passwords (\password ordersaga_order) or map certificates.

CREATE ROLE ordersaga_audit LOGIN;

CREATE ROLE ordersaga_order_migrating LOGIN;
CREATE ROLE ordersaga_order LOGIN;
CREATE DATABASE ordersaga_order OWNER ordersaga_order_migrating;
REVOKE ALL ON DATABASE ordersaga_order FROM PUBLIC;
GRANT CONNECT ON DATABASE ordersaga_order TO ordersaga_order, ordersaga_audit;

CREATE ROLE ordersaga_stock_migrating LOGIN;
CREATE ROLE ordersaga_stock LOGIN;
CREATE DATABASE ordersaga_stock OWNER ordersaga_stock_migrating;
REVOKE ALL ON DATABASE ordersaga_stock FROM PUBLIC;
GRANT CONNECT ON DATABASE ordersaga_stock TO ordersaga_stock, ordersaga_audit;

CREATE ROLE ordersaga_payment_migrating LOGIN;
CREATE ROLE ordersaga_payment LOGIN;
CREATE DATABASE ordersaga_payment OWNER ordersaga_payment_migrating;
REVOKE ALL ON DATABASE ordersaga_payment FROM PUBLIC;
GRANT CONNECT ON DATABASE ordersaga_payment TO ordersaga_payment, ordersaga_audit;

CREATE ROLE ordersaga_delivery_migrating LOGIN;
CREATE ROLE ordersaga_delivery LOGIN;
CREATE DATABASE ordersaga_delivery OWNER ordersaga_delivery_migrating;
REVOKE ALL ON DATABASE ordersaga_delivery FROM PUBLIC;
GRANT CONNECT ON DATABASE ordersaga_delivery TO ordersaga_delivery, ordersaga_audit;
