-- name: held_records
-- Records of an order that had no effect: parked ones, and dead letters that are open or discarded.
SELECT topic, partition, record_offset, 'PARKED' AS state, attempts, due_at, cause, reason, parked_at AS since
FROM parked WHERE order_key = :order_key
UNION ALL
SELECT topic, partition, record_offset, status, attempts, NULL, cause, reason, at
FROM dead_letter WHERE order_key = :order_key AND status IN ('OPEN', 'DISCARDED')
ORDER BY since;
