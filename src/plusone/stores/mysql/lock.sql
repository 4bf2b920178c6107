-- Before tokens are looked up: whoever recorded one held the same lock until it was committed. A row that is absent
-- is made here, for what is not there cannot be locked, and another might make it, and count in it, before the step.
INSERT INTO plusone_counters (counter, others)
VALUES {rows}
ON DUPLICATE KEY UPDATE outcome = 0
