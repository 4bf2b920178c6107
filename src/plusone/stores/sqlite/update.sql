-- The hot path: the same writer goes on, and life and death stay as they are. The row of placeholders is repeated.
-- OR ROLLBACK spares SQLite the statement journal, which costs as much as the update; after an error we roll back anyway.
WITH new (id, value, revision, updated_ms, seq, value_before, revision_before, existed_before, written_ms) AS (
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
)
UPDATE OR ROLLBACK counters
SET value = new.value,
    revision = new.revision,
    updated_ms = new.updated_ms,
    seq = new.seq,
    value_before = new.value_before,
    revision_before = new.revision_before,
    existed_before = new.existed_before,
    written_ms = new.written_ms
FROM new
WHERE counters.id = new.id
