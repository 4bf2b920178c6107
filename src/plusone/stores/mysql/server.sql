-- Those of these that the server has: TiDB lacks some.
SHOW GLOBAL VARIABLES
WHERE Variable_name IN ('version', 'version_comment', 'innodb_flush_log_at_trx_commit', 'log_bin', 'sync_binlog')
