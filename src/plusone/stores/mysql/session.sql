-- What /*T! encloses is for TiDB, and a comment to the others.
SET SESSION
    autocommit = 1,
    time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
    innodb_lock_wait_timeout = 5
    /*T! , tidb_txn_mode = 'pessimistic' */;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
