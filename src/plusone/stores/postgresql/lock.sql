-- Lock these counters in the order given until the transaction ends; those that are absent are created dead, for what
-- does not exist cannot be locked. The condition never holds: a row in conflict is locked, and stays as it is.
INSERT INTO {schema}.counters AS c (
    key, value, revision, expires_ms, writer, seq, value_before, revision_before, existed_before, written_ms,
    others_count, others, position
)
SELECT key, 0, 0, 0, '', 0, 0, 0, 0, floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint, 0, '{}', 0
FROM unnest($1::text[]) AS asked (key)
ON CONFLICT (key) DO UPDATE SET position = 0 WHERE false
