-- The tables and indexes that are there, as far as this user may see them.
SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
UNION SELECT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()
