-- Which of these scripts have run; the highest number counts.
CREATE TABLE IF NOT EXISTS plusone_schema (
    version INT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;

-- One row per counter. The session of the last writer stands in columns, the other writers' in JSON:
-- {"w<writer>": [seq, value, revision, existed (before), time]}. Every write writes a session, so its time is that of the
-- last write of any kind. Binary strings compare byte by byte, whatever the server's collations are. The columns that
-- begin with "asked" carry a call's request to the row, the four behind "others" what the step made of it.
CREATE TABLE IF NOT EXISTS plusone_counters (
    counter VARBINARY(320) NOT NULL PRIMARY KEY,         -- account/name
    value BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 0,
    expires_ms BIGINT DEFAULT 0,                         -- NULL: never; 0: dead by every clock
    updated_ms BIGINT,                                   -- when an operation was applied last; NULL: none ever was
    writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    seq BIGINT NOT NULL DEFAULT 0,
    value_before BIGINT,                                 -- NULL after a closing
    revision_before BIGINT NOT NULL DEFAULT 0,
    existed_before TINYINT NOT NULL DEFAULT 0,
    written_ms BIGINT NOT NULL DEFAULT 0,
    others MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    now_ms BIGINT,
    was_alive TINYINT,
    last_seq BIGINT,
    outcome TINYINT,
    asked_writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    asked_seq BIGINT,
    asked_acked BIGINT,
    asked_total BIGINT,
    asked_applied BIGINT,
    asked_lo BIGINT,
    asked_hi BIGINT,
    asked_kind TINYINT,                                  -- 0 add, 1 restart, 2 delete, 3 closing
    asked_revision BIGINT,
    asked_alive TINYINT,
    asked_ttl_ms BIGINT,
    asked_known INT,                                     -- how many of the request's tokens are recorded
    KEY plusone_counters_expiring (expires_ms)
) ENGINE = InnoDB;

-- A row that expires at 0 is not recorded (yet): "asked" is what the call under way would record.
CREATE TABLE IF NOT EXISTS plusone_tokens (
    counter VARBINARY(320) NOT NULL,
    token VARBINARY(1024) NOT NULL,
    asked VARBINARY(512) NOT NULL,
    data VARBINARY(512),
    value BIGINT,
    revision BIGINT,
    existed TINYINT,
    expires_ms BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (counter, token),
    KEY plusone_tokens_expiring (expires_ms)
) ENGINE = InnoDB;

INSERT IGNORE INTO plusone_schema (version) VALUES (1);
