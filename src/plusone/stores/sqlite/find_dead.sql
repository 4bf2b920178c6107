-- The next dead counters behind a position in their index, and whether each may go.
SELECT json_group_array(json_array(expires_ms, id, key, removable))
FROM (
    SELECT
        expires_ms, id, key,
        written_ms <= :written_until_ms AND NOT EXISTS (
            SELECT * FROM tokens WHERE tokens.counter = counters.id AND tokens.expires_ms > :now_ms
        ) AS removable
    FROM counters
    WHERE expires_ms IS NOT NULL AND expires_ms <= :now_ms AND (expires_ms, id) > (:after_expires_ms, :after_id)
    ORDER BY expires_ms, id
    LIMIT :limit
)
