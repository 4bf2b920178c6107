-- Guarded adds of one writer to many counters: the protocol's one step, for what begins with no set, no precondition
-- and no token. A counter whose position does not come back was not changed; why, says a look at it afterwards.
--
-- $1 writer, then one array each: $2 key, $3 seq, $4 acked, $5 total, $6 applied, $7 lo, $8 hi, $9 ttl in ms, or -1.
-- The keys come sorted and are locked in that order, so that two calls never wait for each other. Everything is decided
-- on the row as it is when the lock is had. `excluded` carries the position, by which the arrays are looked up.
WITH written AS (
    INSERT INTO {schema}.counters AS c (
        key, position, value, revision, expires_ms, updated_ms,
        writer, seq, value_before, revision_before, existed_before, written_ms, others_count, others
    )
    -- A counter that is absent begins here, if the guard and the session rule admit it; else it is created dead.
    SELECT
        asked.key,
        asked.position,
        CASE WHEN asked.begins THEN asked.total ELSE 0 END,
        CASE WHEN asked.begins THEN asked.applied ELSE 0 END,
        CASE WHEN NOT asked.begins THEN 0 WHEN asked.ttl_ms < 0 THEN NULL ELSE asked.now_ms + asked.ttl_ms END,
        CASE WHEN asked.begins THEN asked.now_ms END,
        CASE WHEN asked.begins THEN $1::text ELSE '' END,
        CASE WHEN asked.begins THEN asked.seq ELSE 0 END,
        0, 0, 0,
        asked.now_ms,
        0, '{}'
    FROM (
        SELECT
            rows.key,
            rows.position,
            clock.now_ms,
            ($3::bigint[])[rows.position] AS seq,
            ($5::bigint[])[rows.position] AS total,
            ($6::bigint[])[rows.position] AS applied,
            ($9::bigint[])[rows.position] AS ttl_ms,
            ($4::bigint[])[rows.position] = 0
                AND ($7::bigint[])[rows.position] <= 0
                AND ($8::bigint[])[rows.position] >= 0 AS begins
        FROM
            (SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS now_ms OFFSET 0) AS clock,
            unnest($2::text[]) WITH ORDINALITY AS rows (key, position)
    ) AS asked
    ON CONFLICT (key) DO UPDATE
    SET position = excluded.position,
        value = ($5::bigint[])[excluded.position]
            + CASE WHEN c.expires_ms IS NULL OR c.expires_ms > excluded.written_ms THEN c.value ELSE 0 END,
        revision = c.revision + ($6::bigint[])[excluded.position],
        expires_ms = CASE
            WHEN c.expires_ms IS NULL OR c.expires_ms > excluded.written_ms THEN c.expires_ms
            WHEN ($9::bigint[])[excluded.position] >= 0 THEN excluded.written_ms + ($9::bigint[])[excluded.position]
        END,
        updated_ms = excluded.written_ms,
        writer = $1,
        seq = ($3::bigint[])[excluded.position],
        value_before = CASE WHEN c.expires_ms IS NULL OR c.expires_ms > excluded.written_ms THEN c.value ELSE 0 END,
        revision_before = c.revision,
        existed_before = CASE WHEN c.expires_ms IS NULL OR c.expires_ms > excluded.written_ms THEN 1 ELSE 0 END,
        written_ms = excluded.written_ms,
        others_count = c.others_count + CASE WHEN c.writer IN ($1, '') OR c.others ? $1 THEN 0 ELSE 1 END,
        others = CASE
            WHEN c.writer IN ($1, '') THEN c.others
            ELSE (c.others - $1) || jsonb_build_object(c.writer, jsonb_build_array(
                c.seq, c.value_before, c.revision_before, c.existed_before, c.written_ms
            ))
        END
    WHERE
        -- The session: acked <= last < seq.
        CASE WHEN c.writer = $1 THEN c.seq ELSE coalesce((c.others -> $1 ->> 0)::bigint, 0) END
            BETWEEN ($4::bigint[])[excluded.position] AND ($3::bigint[])[excluded.position] - 1
        -- The guard.
        AND CASE WHEN c.expires_ms IS NULL OR c.expires_ms > excluded.written_ms THEN c.value ELSE 0 END
            BETWEEN ($7::bigint[])[excluded.position] AND ($8::bigint[])[excluded.position]
        -- It did not die while this call waited for the lock, or others may have seen it dead before us.
        AND (
            c.expires_ms IS NULL
            OR c.expires_ms <= excluded.written_ms
            OR c.expires_ms > extract(epoch FROM clock_timestamp()) * 1000
        )
        -- There is room for a new writer's session without pruning.
        AND (c.writer IN ($1, '') OR c.others_count < 31 OR c.others ? $1)
    RETURNING c.position, c.value_before, c.revision_before, c.existed_before, c.writer
)
SELECT array_agg(position), array_agg(value_before), array_agg(revision_before), array_agg(existed_before)
FROM written
WHERE writer = $1
