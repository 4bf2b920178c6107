-- Rows as they were decided elsewhere, each on the condition that its last session ($14 writer, $15 seq) is still the
-- one it was decided on, and their tokens: for each row that is written, all or none. Answers the keys written.
-- A row that was absent has the last session of no writer, seq 0; so has one that was created dead since.
WITH clock AS MATERIALIZED (
    SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS now_ms
), written AS (
    INSERT INTO {schema}.counters AS c (
        key, value, revision, expires_ms, updated_ms,
        writer, seq, value_before, revision_before, existed_before, written_ms, others_count, others, position
    )
    SELECT
        key, value, revision, expires_ms, updated_ms,
        writer, seq, value_before, revision_before, existed_before, written_ms, others_count, others, position
    FROM unnest(
        $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
        $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::smallint[], $11::bigint[], $12::integer[],
        $13::jsonb[]
    ) WITH ORDINALITY AS asked (
        key, value, revision, expires_ms, updated_ms,
        writer, seq, value_before, revision_before, existed_before, written_ms, others_count, others, position
    )
    ON CONFLICT (key) DO UPDATE
    SET value = excluded.value,
        revision = excluded.revision,
        expires_ms = excluded.expires_ms,
        updated_ms = excluded.updated_ms,
        writer = excluded.writer,
        seq = excluded.seq,
        value_before = excluded.value_before,
        revision_before = excluded.revision_before,
        existed_before = excluded.existed_before,
        written_ms = excluded.written_ms,
        others_count = excluded.others_count,
        others = excluded.others,
        position = excluded.position
    WHERE c.writer = ($14::text[])[excluded.position] AND c.seq = ($15::bigint[])[excluded.position]
    RETURNING c.key
), recorded AS (
    -- One that is there already has expired, or the counter would not have been written.
    INSERT INTO {schema}.tokens (key, token, data, value, revision, existed, expires_ms)
    SELECT asked.key, asked.token, asked.data, asked.value, asked.revision, asked.existed, clock.now_ms + $22::bigint
    FROM clock, written
    JOIN unnest($16::text[], $17::text[], $18::text[], $19::bigint[], $20::bigint[], $21::smallint[])
        AS asked (key, token, data, value, revision, existed) ON asked.key = written.key
    ON CONFLICT (key, token) DO UPDATE
    SET data = excluded.data,
        value = excluded.value,
        revision = excluded.revision,
        existed = excluded.existed,
        expires_ms = excluded.expires_ms
)
SELECT array_agg(key) FROM written
