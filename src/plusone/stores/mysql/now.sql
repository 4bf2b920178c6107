-- Milliseconds since 1970, whatever the session's time zone is; one moment for the whole statement.
TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000
