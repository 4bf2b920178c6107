-- The byte FF is in no UTF-8 text: the prefix with it behind is above all counters that begin with the prefix.
SELECT counter, value, revision, updated_ms
FROM plusone_counters
WHERE counter >= {prefix} AND counter > {after} AND counter < {above}
    AND (expires_ms IS NULL OR expires_ms > {now})
ORDER BY counter
LIMIT {limit}
