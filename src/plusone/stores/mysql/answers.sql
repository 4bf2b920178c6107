-- A locking read sees the newest row, where TiDB's plain one might see an older one.
SELECT {columns}
FROM plusone_counters
WHERE counter IN ({counters})
ORDER BY counter
FOR UPDATE
