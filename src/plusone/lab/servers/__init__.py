"""Real servers of the datastores, started for a while on this machine: 127.0.0.1, temporary folders."""
