SELECT json_group_array(json_array(key, value, revision, expires_ms, updated_ms))
FROM counters
WHERE key IN (SELECT value FROM json_each(?))
