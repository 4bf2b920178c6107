-- The time is that of the statement, before what it sees: what was alive then, and is found unchanged, was alive now.
SELECT
    pg_is_in_recovery(),
    floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint,
    (
        SELECT json_agg(json_build_array(key, value, revision, expires_ms, updated_ms))::text
        FROM {schema}.counters
        WHERE key = ANY ($1::text[])
    )
