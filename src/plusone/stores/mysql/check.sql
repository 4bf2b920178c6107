-- Changes nothing, but is refused where nothing may be changed.
DELETE FROM plusone_counters WHERE counter = ''
