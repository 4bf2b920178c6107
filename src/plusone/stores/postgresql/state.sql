-- Whether the schema is there, and the names of its tables and indexes. Asked of the tables: to_regclass and its like
-- answer out of a cache, which a transaction that waited for a lock has from before it.
SELECT
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text),
    ARRAY(
        SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
        WHERE nspname = $1::text
    )
