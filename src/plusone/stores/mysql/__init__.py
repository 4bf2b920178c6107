"""MySQL, MariaDB and TiDB: one step in their common SQL."""
