-- A later script ends with an UPDATE of the version to its own number. What is missing is made again by those statements
-- that begin with CREATE or ALTER and its name.
CREATE TABLE IF NOT EXISTS {schema}.schema_version (version integer NOT NULL);

INSERT INTO {schema}.schema_version VALUES (1);

-- One row per counter. The session of the last writer stands in columns, for a writer that stays the same then changes
-- numbers only. The other writers' sessions are JSON: {"writer": [seq, value, revision, existed (before), time]}.
-- Every write writes a session, so its time is that of the last write of any kind.
-- Times are milliseconds since 1970 by this server's clock, so that no time zone has a say in them.
-- A part of each page is left free: a row that changes then moves within its page, and no index is touched.
CREATE TABLE IF NOT EXISTS {schema}.counters (
    value bigint NOT NULL,
    revision bigint NOT NULL,
    expires_ms bigint,                 -- NULL: never; 0: dead by every clock
    updated_ms bigint,                 -- when an operation was applied last; NULL: none ever was
    seq bigint NOT NULL,
    value_before bigint,               -- NULL after a closing
    revision_before bigint NOT NULL,
    written_ms bigint NOT NULL,
    others_count integer NOT NULL,
    position integer NOT NULL,         -- the row's place in the call that wrote it last; of no meaning afterwards
    existed_before smallint NOT NULL,
    key text COLLATE "C" PRIMARY KEY,  -- account/name, compared byte by byte
    writer text COLLATE "C" NOT NULL,  -- empty: there was none yet
    others jsonb NOT NULL
) WITH (fillfactor = 70);

-- What sweeping walks along: counters that are dead, or will be one day.
CREATE INDEX IF NOT EXISTS counters_expiring ON {schema}.counters (expires_ms, key) WHERE expires_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS {schema}.tokens (
    value bigint NOT NULL,
    revision bigint NOT NULL,
    expires_ms bigint NOT NULL,
    existed smallint NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (key, token)
);

CREATE INDEX IF NOT EXISTS tokens_expiring ON {schema}.tokens (expires_ms);
