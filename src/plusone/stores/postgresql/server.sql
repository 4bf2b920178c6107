-- What has to hold of the server, and what is worth a warning.
SELECT
    current_setting('server_version_num')::integer,
    current_setting('server_encoding'),
    current_setting('fsync'),
    current_setting('synchronous_commit'),
    pg_is_in_recovery()
