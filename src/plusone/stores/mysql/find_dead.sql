-- Found without a lock, and removed by their keys: a removal along the index would lock it before the rows, writers
-- the rows before it, and they would wait for each other.
SELECT counter
FROM plusone_counters
WHERE expires_ms <= {now}
    AND written_ms <= {now} - {kept_ms}
    AND NOT EXISTS (
        SELECT * FROM plusone_tokens
        WHERE plusone_tokens.counter = plusone_counters.counter AND plusone_tokens.expires_ms > {now}
    )
ORDER BY expires_ms
LIMIT {limit}
