-- $1: where the prefix begins, $2: the last key of the page before, $3: the first key beyond the prefix, or NULL.
SELECT
    pg_is_in_recovery(),
    (
        SELECT json_agg(json_build_array(key, value, revision, updated_ms))::text
        FROM (
            SELECT key, value, revision, updated_ms
            FROM {schema}.counters
            WHERE key >= $1 AND key > $2 AND ($3::text IS NULL OR key < $3)
                AND (expires_ms IS NULL OR expires_ms > extract(epoch FROM statement_timestamp()) * 1000)
            ORDER BY key
            LIMIT $4::bigint
        ) AS page
    )
