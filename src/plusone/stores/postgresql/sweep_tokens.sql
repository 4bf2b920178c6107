-- Remove $1 expired tokens; answers how many there were. One that is being recorded anew is locked, and left alone.
WITH expired AS MATERIALIZED (
    SELECT key, token
    FROM {schema}.tokens
    WHERE expires_ms <= floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint
    ORDER BY expires_ms
    LIMIT $1::bigint
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM {schema}.tokens AS t USING expired WHERE t.key = expired.key AND t.token = expired.token
)
SELECT count(*) FROM expired
