-- Creates counters, and writes whatever update.sql leaves alone: another writer, a life that begins or ends.
INSERT OR ROLLBACK INTO counters (
    id, key, value, revision, expires_ms, updated_ms,
    writer, seq, value_before, revision_before, existed_before, written_ms, others
)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 IS NOT NULL
ON CONFLICT (id) DO UPDATE
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
    others = excluded.others
