-- name: claim_idempotency_keys!
-- The first use of a key wins; a second one waits here until the first is committed.
INSERT INTO idempotency_key (scope, key, body_hash, resource, at)
SELECT scope, key, body_hash, resource, :now
FROM unnest(:scopes::text[], :keys::text[], :body_hashes::bytea[], :resources::uuid[]) AS t (scope, key, body_hash, resource)
ORDER BY scope, key
ON CONFLICT DO NOTHING;

-- name: release_idempotency_keys!
-- Forget keys whose requests were refused in the transaction that claimed them. Whoever waits for one of them claims it then.
DELETE FROM idempotency_key k
USING unnest(:scopes::text[], :keys::text[], :resources::uuid[]) AS t (scope, key, resource)
WHERE k.scope = t.scope AND k.key = t.key AND k.resource = t.resource;

-- name: idempotency_keys
-- What keys stand for now.
SELECT scope, key, body_hash, resource
FROM idempotency_key JOIN unnest(:scopes::text[], :keys::text[]) AS t (scope, key) USING (scope, key);
