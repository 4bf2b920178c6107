-- The byte FF is in no UTF-8 text: the prefix with it behind is above all keys that begin with the prefix.
SELECT json_group_array(json_array(key, value, revision, updated_ms))
FROM (
    SELECT key, value, revision, updated_ms
    FROM counters
    WHERE key >= :prefix AND key > :after AND key < CAST(:prefix || x'ff' AS TEXT)
        AND (expires_ms IS NULL OR expires_ms > :now_ms)
    ORDER BY key
    LIMIT :limit
)
