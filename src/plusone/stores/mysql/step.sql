-- The protocol's one step, for many counters. A counter without a row gets a dead one, and nothing else happens to it:
-- its outcome stays NULL. Assignments are made from left to right, and each sees those before it (MySQL, MariaDB and
-- TiDB all do so here). Outcomes: 1 applied, 2 duplicate, 3 stale, 4 gap, 5 missed by tokens, 6 missed by the guard,
-- 7 too many sessions in the way of a new one, 8 sessions that are no JSON. A "w" precedes each writer in the JSON:
-- MariaDB misreads a path whose quoted key begins with "-". VALUES(asked_…) is the request's own; what all requests
-- have in common is put there instead, and not carried by a column.
INSERT INTO plusone_counters ({columns})
VALUES {rows}
ON DUPLICATE KEY UPDATE
    now_ms = {now},
    was_alive = expires_ms IS NULL OR expires_ms > now_ms,
    last_seq = CASE
        WHEN writer = VALUES(asked_writer) THEN seq
        WHEN JSON_VALID(others)
            THEN COALESCE(CAST(JSON_EXTRACT(others, CONCAT('$."w', VALUES(asked_writer), '"[0]')) AS SIGNED), 0)
    END,
    outcome = CASE
        WHEN last_seq IS NULL THEN 8
        WHEN last_seq = VALUES(asked_seq) THEN 2
        WHEN last_seq > VALUES(asked_seq) THEN 3
        WHEN last_seq < VALUES(asked_acked) THEN 4
        WHEN VALUES(asked_known) > 0 THEN 5
        WHEN IF(was_alive, value, 0) NOT BETWEEN VALUES(asked_lo) AND VALUES(asked_hi)
            OR revision <> VALUES(asked_revision)
            OR was_alive <> VALUES(asked_alive) THEN 6
        WHEN last_seq = 0 AND writer NOT IN ('', VALUES(asked_writer)) AND JSON_LENGTH(others) >= {others_max} THEN 7
        ELSE 1
    END,
    others = IF(
        outcome = 1 AND writer NOT IN ('', VALUES(asked_writer)),
        JSON_REMOVE(
            JSON_SET(
                others,
                CONCAT('$."w', writer, '"'),
                JSON_ARRAY(seq, value_before, revision_before, existed_before, written_ms)
            ),
            CONCAT('$."w', VALUES(asked_writer), '"')
        ),
        others
    ),
    writer = IF(outcome = 1, VALUES(asked_writer), writer),
    seq = IF(outcome = 1, VALUES(asked_seq), seq),
    value_before = IF(
        outcome = 1, IF(VALUES(asked_kind) = 3, NULL, IF(was_alive, value, 0)), value_before
    ),
    revision_before = IF(outcome = 1, revision, revision_before),
    existed_before = IF(outcome = 1, was_alive, existed_before),
    written_ms = IF(outcome = 1, now_ms, written_ms),
    value = IF(
        outcome = 1 AND VALUES(asked_applied) > 0,
        IF(was_alive AND VALUES(asked_kind) = 0, value, 0) + VALUES(asked_total),
        value
    ),
    revision = IF(outcome = 1, revision + VALUES(asked_applied), revision),
    updated_ms = IF(outcome = 1 AND VALUES(asked_applied) > 0, now_ms, updated_ms),
    expires_ms = IF(
        outcome = 1 AND VALUES(asked_applied) > 0,
        CASE
            WHEN VALUES(asked_kind) = 2 THEN 0
            WHEN was_alive THEN expires_ms
            ELSE now_ms + VALUES(asked_ttl_ms)
        END,
        expires_ms
    )
