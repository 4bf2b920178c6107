SELECT counter, value, revision, expires_ms IS NULL OR expires_ms > {now}, updated_ms
FROM plusone_counters
WHERE counter IN ({counters})
