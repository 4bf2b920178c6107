DELETE FROM tokens
WHERE (counter, token) IN (
    SELECT counter, token FROM tokens WHERE expires_ms <= :now_ms ORDER BY expires_ms LIMIT :limit
)
