-- Before tokens are looked up: whoever recorded one held the same lock until it was committed.
SELECT counter FROM plusone_counters WHERE counter IN ({counters}) ORDER BY counter FOR UPDATE
