-- Marks the file as ours: "plus" in ASCII.
PRAGMA application_id = 1886156147;

-- One row per counter. The session of the last writer stands in columns, for a writer that stays the same then changes
-- numbers only. The other writers' sessions are JSON: {"writer": [seq, value, revision, existed (before), time]}.
-- Every write writes a session, so its time is that of the last write of any kind.
CREATE TABLE counters (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,          -- account/name; BINARY, the default, compares byte by byte
    value INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    expires_ms INTEGER,                -- NULL: never; 0: dead by every clock
    updated_ms INTEGER,                -- when an operation was applied last; NULL: none ever was
    writer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    value_before INTEGER,              -- NULL after a closing
    revision_before INTEGER NOT NULL,
    existed_before INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    others TEXT NOT NULL
) STRICT;

-- What sweeping walks along: counters that are dead, or will be one day.
CREATE INDEX counters_expiring ON counters (expires_ms, id) WHERE expires_ms IS NOT NULL;

CREATE TABLE tokens (
    counter INTEGER NOT NULL REFERENCES counters (id),
    token TEXT NOT NULL,
    data TEXT NOT NULL,
    value INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    existed INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (counter, token)
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_expiring ON tokens (expires_ms);
