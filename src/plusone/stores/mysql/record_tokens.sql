-- The staged tokens of the requests that were applied; those of the others stay expired.
UPDATE plusone_tokens AS t
JOIN plusone_counters AS c ON c.counter = t.counter
SET t.data = t.asked,
    t.value = c.value_before,
    t.revision = c.revision_before,
    t.existed = c.existed_before,
    t.expires_ms = c.now_ms + {retention_ms}
WHERE c.outcome = 1 AND ({tokens})
