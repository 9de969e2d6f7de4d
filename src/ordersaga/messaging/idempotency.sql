-- name: claim_idempotency_keys!
-- Insert the keys that are new. The insert waits for another transaction that has claimed the same key.
INSERT INTO idempotency_key (scope, key, body_hash, resource, at)
SELECT scope, key, body_hash, resource, :now
FROM unnest(:scopes::text[], :keys::text[], :body_hashes::bytea[], :resources::uuid[]) AS t (scope, key, body_hash, resource)
ORDER BY scope, key
ON CONFLICT DO NOTHING;

-- name: release_idempotency_keys!
-- Delete keys whose requests were refused in the transaction that claimed them. A request that waits for such a key then claims it.
DELETE FROM idempotency_key k
USING unnest(:scopes::text[], :keys::text[], :resources::uuid[]) AS t (scope, key, resource)
WHERE k.scope = t.scope AND k.key = t.key AND k.resource = t.resource;

-- name: idempotency_keys
-- The body hash and the resource of each key that is claimed.
SELECT scope, key, body_hash, resource
FROM idempotency_key JOIN unnest(:scopes::text[], :keys::text[]) AS t (scope, key) USING (scope, key);
