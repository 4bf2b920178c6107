-- A token is recorded together with a session, so none was recorded for an hour where none was written.
DELETE FROM plusone_counters
WHERE expires_ms <= {now}
    AND written_ms <= {now} - {kept_ms}
    AND NOT EXISTS (
        SELECT * FROM plusone_tokens
        WHERE plusone_tokens.counter = plusone_counters.counter AND plusone_tokens.expires_ms > {now}
    )
ORDER BY expires_ms
LIMIT {limit}
