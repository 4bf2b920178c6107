"""SQLite: the embedded default, durable in one file."""
