-- One that is there already has expired, or the step would have been answered with it.
INSERT OR ROLLBACK INTO tokens (counter, token, data, value, revision, existed, expires_ms)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?))
WHERE column1 IS NOT NULL
ON CONFLICT (counter, token) DO UPDATE
SET data = excluded.data,
    value = excluded.value,
    revision = excluded.revision,
    existed = excluded.existed,
    expires_ms = excluded.expires_ms
