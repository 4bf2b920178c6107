-- Remove counters long dead ($1: unwritten for so many ms) that hold no unexpired tokens: of the next $4 behind a
-- position ($2, $3) in their index. Answers how many were looked at, and the last one's position.
-- A row that somebody has locked is left for another time. One that was written meanwhile is looked at again as it is
-- then, when it is locked; with a token, for instance, for that writes the row as well.
WITH clock AS MATERIALIZED (
    SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS now_ms
), seen AS MATERIALIZED (
    SELECT c.expires_ms, c.key
    FROM clock, {schema}.counters AS c
    WHERE c.expires_ms <= clock.now_ms AND (c.expires_ms, c.key) > ($2::bigint, $3::text)
    ORDER BY c.expires_ms, c.key
    LIMIT $4::bigint
), locked AS MATERIALIZED (
    SELECT c.key
    FROM clock, seen
    JOIN {schema}.counters AS c ON c.key = seen.key
    WHERE c.expires_ms <= clock.now_ms
        AND c.written_ms <= clock.now_ms - $1::bigint
        AND NOT EXISTS (
            SELECT FROM {schema}.tokens AS t WHERE t.key = c.key AND t.expires_ms > clock.now_ms
        )
    FOR UPDATE OF c SKIP LOCKED
), removed AS (
    DELETE FROM {schema}.counters AS c USING locked WHERE c.key = locked.key
)
SELECT count(*), (SELECT max(expires_ms) FROM seen), (SELECT key FROM seen ORDER BY expires_ms DESC, key DESC LIMIT 1)
FROM seen
