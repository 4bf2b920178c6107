"""PostgreSQL: counters in two tables, durable as its write-ahead log is."""
