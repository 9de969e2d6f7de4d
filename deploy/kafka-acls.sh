#!/bin/sh
# The rights at Kafka that each service needs, and no more. Run it once as a user who may alter the cluster's ACLs:
#
#   BOOTSTRAP=kafka:9092 COMMAND_CONFIG=admin.properties deploy/kafka-acls.sh
#
# A service's user reads its own topics in its own group, and writes the topics of which it is the producer, and the dead letter
# topics of those that it reads. Read and Write bring Describe with them. Nobody joins the group ordersaga-reader: consumers that join
# none have its name, and without Describe on it Kafka's log says twice a second that they are denied. Where users have other names, set the variables below: with
# mTLS a user is the certificate's name, such as ORDER=User:CN=ordersaga-order.
set -eu
: "${BOOTSTRAP:?set it to the address of a broker, such as kafka:9092}"
: "${ORDER:=User:ordersaga-order}" "${STOCK:=User:ordersaga-stock}"
: "${PAYMENT:=User:ordersaga-payment}" "${DELIVERY:=User:ordersaga-delivery}"
: "${AUDIT:=User:ordersaga-audit}" "${WEB:=User:ordersaga-web}" "${TOPICS:=User:ordersaga-topics}"

allow() {
    principal=$1
    shift
    kafka-acls.sh --bootstrap-server "$BOOTSTRAP" ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
        --add --allow-principal "$principal" "$@"
}

allow "$ORDER" --operation Read --group ordersaga-order
allow "$ORDER" --operation Describe --group ordersaga-reader
allow "$ORDER" --operation Read \
    --topic stock-response-topic \
    --topic payment-success-topic \
    --topic delivery-start-topic \
    --topic stock-rollback-completed-topic \
    --topic stock-rollback-failed-topic \
    --topic payment-cancelled-topic \
    --topic product-price-topic
allow "$ORDER" --operation Write \
    --topic order-created \
    --topic delivery-request-topic \
    --topic order-completed-topic \
    --topic stock-rollback-requested-topic \
    --topic payment-cancel-requested-topic \
    --topic order-payable-topic \
    --topic stock-response-topic-dlt \
    --topic payment-success-topic-dlt \
    --topic delivery-start-topic-dlt \
    --topic stock-rollback-completed-topic-dlt \
    --topic stock-rollback-failed-topic-dlt \
    --topic payment-cancelled-topic-dlt \
    --topic product-price-topic-dlt

allow "$STOCK" --operation Read --group ordersaga-stock
allow "$STOCK" --operation Describe --group ordersaga-reader
allow "$STOCK" --operation Read \
    --topic order-created \
    --topic stock-rollback-requested-topic
allow "$STOCK" --operation Write \
    --topic stock-response-topic \
    --topic stock-rollback-completed-topic \
    --topic stock-rollback-failed-topic \
    --topic product-price-topic \
    --topic order-created-dlt \
    --topic stock-rollback-requested-topic-dlt

allow "$PAYMENT" --operation Read --group ordersaga-payment
allow "$PAYMENT" --operation Describe --group ordersaga-reader
allow "$PAYMENT" --operation Read \
    --topic payment-cancel-requested-topic \
    --topic order-payable-topic
allow "$PAYMENT" --operation Write \
    --topic payment-success-topic \
    --topic payment-cancelled-topic \
    --topic payment-cancel-requested-topic-dlt \
    --topic order-payable-topic-dlt

allow "$DELIVERY" --operation Read --group ordersaga-delivery
allow "$DELIVERY" --operation Describe --group ordersaga-reader
allow "$DELIVERY" --operation Read \
    --topic delivery-request-topic
allow "$DELIVERY" --operation Write \
    --topic delivery-start-topic \
    --topic delivery-request-topic-dlt

# `ordersaga verify` and `serve audit`; `serve web` for the shop's pages and the console's; `ordersaga topics create` and `check`.
every="--topic order-created --topic order-created-dlt \
    --topic stock-response-topic --topic stock-response-topic-dlt \
    --topic payment-success-topic --topic payment-success-topic-dlt \
    --topic delivery-request-topic --topic delivery-request-topic-dlt \
    --topic delivery-start-topic --topic delivery-start-topic-dlt \
    --topic order-completed-topic --topic order-completed-topic-dlt \
    --topic stock-rollback-requested-topic --topic stock-rollback-requested-topic-dlt \
    --topic stock-rollback-completed-topic --topic stock-rollback-completed-topic-dlt \
    --topic stock-rollback-failed-topic --topic stock-rollback-failed-topic-dlt \
    --topic payment-cancel-requested-topic --topic payment-cancel-requested-topic-dlt \
    --topic payment-cancelled-topic --topic payment-cancelled-topic-dlt \
    --topic order-payable-topic --topic order-payable-topic-dlt \
    --topic product-price-topic --topic product-price-topic-dlt"
allow "$AUDIT" --operation Describe --group ordersaga-reader
allow "$AUDIT" --operation DescribeConfigs --topic order-completed-topic
# shellcheck disable=SC2086
allow "$AUDIT" --operation Read $every
allow "$WEB" --operation Describe --group ordersaga-reader
# shellcheck disable=SC2086
allow "$WEB" --operation Read $every
# shellcheck disable=SC2086
allow "$TOPICS" --operation Create --operation Alter --operation AlterConfigs --operation DescribeConfigs $every
