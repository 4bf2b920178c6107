-- The rows of these keys, as one JSON array: the writer's thread then has to ask for the interpreter once, not per row.
SELECT json_group_array(json_array(
    id, key, value, revision, expires_ms, updated_ms,
    writer, seq, value_before, revision_before, existed_before, written_ms, others
))
FROM counters
WHERE key IN (SELECT value FROM json_each(?))
