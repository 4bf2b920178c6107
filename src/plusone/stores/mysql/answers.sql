-- What the step made of each. A locking read sees the newest row, where TiDB's plain one might see an older one.
SELECT
    counter, outcome, value_before, revision_before, existed_before,
    last_seq, IF(was_alive, value, 0), revision, was_alive, writer, now_ms, IF(outcome IN (2, 7), others, NULL)
FROM plusone_counters
WHERE counter IN ({counters})
ORDER BY counter
FOR UPDATE
