-- Counters ($1) and those of the tokens asked for ($2 counter, $3 token) that are recorded and not expired: all as of
-- one moment. A token is recorded together with a session on its counter's row, so who finds the row's last session
-- unchanged when writing knows that no token has come since.
WITH clock AS MATERIALIZED (
    SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS now_ms
)
SELECT
    pg_is_in_recovery(),
    clock.now_ms,
    (
        SELECT json_agg(json_build_array(
            1, key, value, revision, expires_ms, updated_ms,
            writer, seq, value_before, revision_before, existed_before, written_ms, others::text
        ))::text
        FROM {schema}.counters
        WHERE key = ANY ($1::text[])
    ),
    (
        SELECT json_agg(json_build_array(t.key, t.token, t.data, t.value, t.revision, t.existed))::text
        FROM unnest($2::text[], $3::text[]) AS asked (key, token)
        JOIN {schema}.tokens AS t ON t.key = asked.key AND t.token = asked.token
        WHERE t.expires_ms > clock.now_ms
    )
FROM clock
