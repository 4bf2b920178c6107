"""One line of the shipped source changed each time, and the smallest selection of tests that has to fail then.

The rules of the protocol are broken one by one in tests/model/mutants.py, where the store is a model. Here it is the
source itself: the stores' atomic steps in their own languages, the combiner and the fold.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Server: TypeAlias = Literal["REDIS", "POSTGRESQL", "MARIADB", "DYNAMODB", "MONGODB", "MOMENTO", "ETCD"]
"""As `PLUSONE_TEST_<server>_URL` names it."""


class Mutant(msgspec.Struct, frozen=True):
    file: str
    """Below src/plusone."""
    before: str
    """A whole line, without its indentation; it stands in the file once."""
    after: str
    why: str
    """What would go wrong, and what therefore has to notice."""
    tests: tuple[str, ...]
    server: Server | None = None
    """The datastore that the tests need."""


_REDIS: Final = "tests/conformance/test_redis.py::TestRedis::"
_POSTGRESQL: Final = "tests/conformance/test_postgresql.py::TestPostgreSQL::"
_MARIADB: Final = "tests/conformance/test_mariadb.py::TestMariaDB::"
_DYNAMODB: Final = "tests/conformance/test_dynamodb.py::TestDynamoDB::"
_MONGODB: Final = "tests/stores/test_mongodb_store.py::"
_MOMENTO: Final = "tests/conformance/test_momento.py::TestMomento::"
_ETCD: Final = "tests/conformance/test_etcd.py::TestEtcd::"
_SQLITE: Final = "tests/conformance/test_sqlite.py::TestSQLite::"
_SESSIONS: Final = "tests/unit/test_combiner_sessions.py::"
_COMBINER: Final = "tests/unit/test_combiner.py::"
_TOKENS: Final = "tests/unit/test_combiner_tokens.py::"
_FOLDING: Final = "tests/unit/test_folding.py::"

_LUA: Final = "stores/redis/step.lua"
_PG: Final = "stores/postgresql/add.sql"
_MYSQL: Final = "stores/mysql/step.sql"

MUTANTS: Final = {
    # Redis: the step in Lua.
    "Redis: the session check is skipped": Mutant(
        _LUA,
        "if last == seq then",
        "if false then",
        "a batch whose reply was lost counts again when it is repeated",
        (_REDIS + "test_a_repeated_seq_is_answered_with_the_stored_before",),
        "REDIS",
    ),
    "Redis: ghosts count": Mutant(
        _LUA,
        "if last > seq then return STALE, 0, 0, 0, 0 end",
        "",
        "a packet that comes after its writer moved on counts again",
        (_REDIS + "test_a_ghost_is_stale",),
        "REDIS",
    ),
    "Redis: a duplicate is answered from the present state": Mutant(
        _LUA,
        "return DUPLICATE, before, before_hi, before_lo, before_revision",
        "return DUPLICATE, before, value_hi, value_lo, revision",
        "a repeated batch is told values that others have been told",
        (_REDIS + "test_a_repeated_seq_is_answered_with_the_stored_before",),
        "REDIS",
    ),
    "Redis: values are compared as doubles": Mutant(
        _LUA,
        "or value_hi > hi_hi or value_hi == hi_hi and value_lo > hi_lo",
        "or value_hi * WORD + value_lo > hi_hi * WORD + hi_lo",
        "beyond 2^53 a bound is passed by one, for a double skips integers",
        (_REDIS + "test_integers_that_a_double_skips_are_exact",),
        "REDIS",
    ),
    "Redis: the upper bound is dropped": Mutant(
        _LUA,
        "or value_hi > hi_hi or value_hi == hi_hi and value_lo > hi_lo",
        "or false",
        "a counter rises beyond its ceiling",
        (_REDIS + "test_the_guard_takes_both_its_ends",),
        "REDIS",
    ),
    "Redis: the carry comes one too late": Mutant(
        _LUA,
        "if after_lo >= WORD then after_hi, after_lo = after_hi + 1, after_lo - WORD end",
        "if after_lo > WORD then after_hi, after_lo = after_hi + 1, after_lo - WORD end",
        "a sum of exactly 2^32 loses its upper word",
        (_REDIS + "test_all_64_bits_count",),
        "REDIS",
    ),
    "Redis: expiry is ignored": Mutant(
        _LUA,
        "local exists = expires > now and 1 or 0",
        "local exists = expires > 0 and 1 or 0",
        "what a ttl has ended counts on from its old value",
        (_REDIS + "test_a_ttl_ends_a_life",),
        "REDIS",
    ),
    "Redis: tokens are not recorded": Mutant(
        _LUA,
        "for index = 1, #rest do",
        "for index = 1, 0 do",
        "an idempotency key does not keep its operation from counting twice",
        (_REDIS + "test_a_known_token_is_a_miss_with_its_record",),
        "REDIS",
    ),
    # PostgreSQL: the statement.
    "PostgreSQL: the last seq may come again": Mutant(
        _PG,
        "BETWEEN ($4::bigint[])[excluded.position] AND ($3::bigint[])[excluded.position] - 1",
        "BETWEEN ($4::bigint[])[excluded.position] AND ($3::bigint[])[excluded.position]",
        "last < seq became last <= seq: a repetition counts twice",
        (_POSTGRESQL + "test_a_repeated_seq_is_answered_with_the_stored_before",),
        "POSTGRESQL",
    ),
    "PostgreSQL: acked is forgotten": Mutant(
        _PG,
        "BETWEEN ($4::bigint[])[excluded.position] AND ($3::bigint[])[excluded.position] - 1",
        "BETWEEN 0 AND ($3::bigint[])[excluded.position] - 1",
        "what a failover lost of the acknowledged operations goes unnoticed",
        (_POSTGRESQL + "test_a_gap_answers_the_last_seq",),
        "POSTGRESQL",
    ),
    "PostgreSQL: the upper bound is dropped": Mutant(
        _PG,
        "BETWEEN ($7::bigint[])[excluded.position] AND ($8::bigint[])[excluded.position]",
        ">= ($7::bigint[])[excluded.position]",
        "a counter rises beyond its ceiling",
        (_POSTGRESQL + "test_the_guard_takes_both_its_ends",),
        "POSTGRESQL",
    ),
    # MariaDB, MySQL and TiDB: the statement.
    "MariaDB: a miss uses its seq up": Mutant(
        _MYSQL,
        "seq = IF(outcome = 1, VALUES(asked_seq), seq),",
        "seq = VALUES(asked_seq),",
        "the same batch with another guard is taken for its own repetition, and never counts",
        (_MARIADB + "test_a_miss_leaves_the_seq_unused",),
        "MARIADB",
    ),
    "MariaDB: the session has the revision after instead of before": Mutant(
        _MYSQL,
        "revision_before = IF(outcome = 1, revision, revision_before),",
        "revision_before = IF(outcome = 1, revision + VALUES(asked_applied), revision_before),",
        "whoever repeats a batch is told revisions that others have",
        (_MARIADB + "test_a_repeated_seq_is_answered_with_the_stored_before",),
        "MARIADB",
    ),
    "MariaDB: expiry is ignored": Mutant(
        _MYSQL,
        "was_alive = expires_ms IS NULL OR expires_ms > now_ms,",
        "was_alive = expires_ms IS NULL OR expires_ms > 0,",
        "what a ttl has ended counts on from its old value",
        (_MARIADB + "test_a_ttl_ends_a_life",),
        "MARIADB",
    ),
    # DynamoDB: the conditional statement.
    "DynamoDB: the last seq may come again": Mutant(
        "stores/dynamodb/step.py",
        'parts["known"] = (number(request.acked), number(request.seq - 1))',
        'parts["known"] = (number(request.acked), number(request.seq))',
        "last < seq became last <= seq: a repetition counts twice",
        (_DYNAMODB + "test_a_repeated_seq_is_known_after_a_reopening",),
        "DYNAMODB",
    ),
    "DynamoDB: the session has no value before": Mutant(
        "stores/dynamodb/step.partiql",
        'before      | SET "b"."{writer}" = "v"',
        'before      | SET "b"."{writer}" = 0',
        "a repeated batch is answered as if it had begun at 0",
        (_DYNAMODB + "test_a_repeated_seq_is_answered_with_the_stored_before",),
        "DYNAMODB",
    ),
    "DynamoDB: both bounds are dropped": Mutant(
        "stores/dynamodb/step.partiql",
        'alive       | AND ("e" IS MISSING OR "e" > ?) AND "v" BETWEEN ? AND ?',
        'alive       | AND ("e" IS MISSING OR "e" > ?) AND ("v" >= ? OR "v" <= ?)',
        "a counter leaves its bounds",
        (_DYNAMODB + "test_the_guard_takes_both_its_ends",),
        "DYNAMODB",
    ),
    # MongoDB: the document and its stamp.
    "MongoDB: a write does not ask for its document's stamp": Mutant(
        "stores/mongodb/write.json",
        '"q": {"_id": ":key", "stamp": ":stamp"},',
        '"q": {"_id": ":key"},',
        "what others wrote since the document was read is lost",
        (
            "tests/stores/test_mongodb_store.py::test_what_a_store_remembers_is_good_for_a_write_only_if_nobody_else_wrote",
        ),
        "MONGODB",
    ),
    "MongoDB: a lost race is answered as applied": Mutant(
        "stores/mongodb/store.py",
        'elif reply["n"] == len(open_):',
        "elif open_:",
        "an increment that a faster writer kept out is acknowledged",
        (
            "tests/stores/test_mongodb_store.py::test_what_a_store_remembers_is_good_for_a_write_only_if_nobody_else_wrote",
        ),
        "MONGODB",
    ),
    # Momento: the item and the condition of its write.
    "Momento: a write does not ask for the item that it follows": Mutant(
        "stores/momento/store.py",
        "return cache._SetIfRequest(cache_key=key, cache_body=item, ttl_milliseconds=ttl_ms, equal=equal)",
        "return cache._SetIfRequest(cache_key=key, cache_body=item, ttl_milliseconds=ttl_ms, present=common.Present())",
        "what others stored since the item was seen is lost",
        (_MOMENTO + "test_several_writers_get_every_value_once",),
        "MOMENTO",
    ),
    "Momento: expired tokens are known": Mutant(
        "stores/momento/blob.py",
        "if (kept := recorded.get(write.token)) is not None and kept.until_ms > now_ms",
        "if (kept := recorded.get(write.token)) is not None",
        "a key is taken for used long after its retention",
        (_MOMENTO + "test_a_token_is_kept_for_its_whole_retention",),
        "MOMENTO",
    ),
    # etcd: the transaction and what it compares.
    "etcd: any value will do": Mutant(
        "stores/etcd/attempt.py",
        "return rpc.Compare(result=_EQUAL, target=_VALUE, key=key, value=value)",
        "return rpc.Compare(result=_GREATER, target=_VERSION, key=key, version=0)",
        "what others put since the value was read is lost",
        (_ETCD + "test_several_writers_get_every_value_once",),
        "ETCD",
    ),
    "etcd: a stale value rejects": Mutant(
        "stores/etcd/attempt.py",
        "elif self.fresh:",
        "else:",
        "an increment is rejected at a value that is no longer the counter's",
        ("tests/stores/test_etcd_store.py::test_nothing_is_rejected_on_what_was_remembered",),
        "ETCD",
    ),
    # The step of the stores that decide in Python, on SQLite.
    "Python's step: a gap is no matter": Mutant(
        "stores/record.py",
        "if last < request.acked:",
        "if last < 0:",
        "what the datastore lost of the acknowledged operations goes unnoticed",
        (_SQLITE + "test_a_gap_answers_the_last_seq",),
    ),
    "Python's step: the upper end is outside": Mutant(
        "stores/record.py",
        "not request.lo <= value <= request.hi",
        "not request.lo <= value < request.hi",
        "< for <=: the last one below a ceiling is rejected",
        (_SQLITE + "test_the_guard_takes_both_its_ends",),
    ),
    "Python's step: the revision is forgotten": Mutant(
        "stores/record.py",
        "or (request.revision is not None and request.revision != row.revision)",
        "",
        "If-Match holds for every revision",
        (_SQLITE + "test_the_guard_may_ask_for_the_exact_revision",),
    ),
    "Python's step: a batch is one revision": Mutant(
        "stores/record.py",
        "row.revision += request.applied",
        "row.revision += 1",
        "increments that travelled together are told revisions that others get too",
        (_SQLITE + "test_applied_answers_the_state_before",),
    ),
    "Python's step: a closing has a value before": Mutant(
        "stores/record.py",
        "row.value_before = None if request.closing else value",
        "row.value_before = value",
        "a batch that was shut out is answered as applied when it comes late",
        (_SQLITE + "test_closing_shuts_a_seq_out",),
    ),
    "Python's step: a life lasts a millisecond longer": Mutant(
        "stores/record.py",
        "alive = row.expires_ms is None or row.expires_ms > now_ms",
        "alive = row.expires_ms is None or row.expires_ms >= now_ms",
        ">= for >: the step counts on from a value that a read says is gone",
        (_SQLITE + "test_the_millisecond_of_a_ttl_is_exact",),
    ),
    "Python's step: sessions are pruned too early": Mutant(
        "stores/sessions.py",
        "if session.time_ms > now_ms - kept_ms:",
        "if session.time_ms > now_ms:",
        "the repetition of a batch finds its session gone, and counts twice",
        (_SQLITE + "test_young_sessions_stay",),
    ),
    "SQLite: rows are remembered though others wrote": Mutant(
        "stores/sqlite/writer.py",
        "if data_version != self._data_version:",
        "if self._data_version is None:",
        "folded from a stale value: two processes give the same number twice",
        (_SQLITE + "test_two_processes_get_every_value_once",),
    ),
    "SQLite: the value is written without its session": Mutant(
        "stores/sqlite/update.sql",
        "seq = new.seq,",
        "seq = counters.seq,",
        "after a crash between the two a repetition would count twice",
        (_SQLITE + "test_a_repeated_seq_is_known_after_a_reopening",),
    ),
    # The combiner.
    "Combiner: a repetition has a new seq": Mutant(
        "combiner/combiner.py",
        "batch = self._resend.popleft()",
        "batch = self._resend.popleft(); self._seq += 1;"
        " batch.request = msgspec.structs.replace(batch.request, seq=self._seq)",
        "no session recognises it: what was applied counts again",
        (_REDIS + "test_lost_replies_count_once",),
        "REDIS",
    ),
    "Combiner: the fold starts from a stale value": Mutant(
        "combiner/combiner.py",
        "folded = batch.fold(answer.value, answer.revision, answer.exists)",
        "folded = batch.fold(*(lane.state or (answer.value, answer.revision, answer.exists)))",
        "callers are told values that other writers' callers have been told",
        (_SQLITE + "test_two_processes_get_every_value_once",),
    ),
    "Combiner: acked is forgotten": Mutant(
        "combiner/combiner.py",
        "lane.acked = batch.request.seq",
        "lane.acked = 0",
        "what the datastore lost of the acknowledged operations goes unnoticed",
        (_SESSIONS + "test_a_gap_is_told_and_counting_goes_on",),
    ),
    "Combiner: acked is remembered from the time of the answer": Mutant(
        "combiner/combiner.py",
        "lane.acked_at = batch.deadline - self._limits.timeout",
        "lane.acked_at = self._clock.elapsed()",
        "a process that was frozen asks for a session that was pruned, and takes it for a loss",
        ("tests/unit/test_combiner_freezes.py",),
    ),
    "Combiner: an ambiguous failure counts as definite": Mutant(
        "combiner/combiner.py",
        "batch.ambiguous = True",
        "pass",
        "callers are told that nothing was counted, and it was",
        (_COMBINER + "test_one_ambiguous_attempt_makes_the_end_unknown",),
    ),
    "Combiner: a rejection does not close its seq": Mutant(
        "combiner/combiner.py",
        "if not batch.ambiguous:",
        "if True:",
        "what was answered as rejected may yet be applied by an earlier attempt",
        (_SESSIONS + "test_a_rejection_after_an_ambiguous_attempt_closes_the_seq[it had been applied]",),
    ),
    "Combiner: a forked process is the same writer": Mutant(
        "combiner/combiner.py",
        "identity = (os.getpid(), self._clock.skew)",
        "identity = (0, self._clock.skew)",
        "two processes share sessions, and one's batches are taken for the other's repetitions",
        (_SESSIONS + "test_a_forked_process_is_a_writer_of_its_own",),
    ),
    "Combiner: a pinned batch leaves the value open": Mutant(
        "combiner/batching.py",
        "lo = hi = value",
        "pass",
        "a token's record tells a value before that was not the value before",
        (_TOKENS + "test_tokens_are_pinned_where_the_step_cannot_copy",),
    ),
    "Combiner: a key may be used for another operation": Mutant(
        "combiner/tokens.py",
        "if kept.fingerprint != fingerprint(group.operations):",
        "if False:",
        "an operation that was never applied is answered with the outcome of another",
        ("tests/unit/test_tokens.py::test_another_operation_under_the_token_is_refused",),
    ),
    # The fold.
    "Fold: a rejection does not bound the value from below": Mutant(
        "folding.py",
        "if -slack - 1 < down:",
        "if False:",
        "the guard admits a lower value, at which the rejected increment had room",
        (_FOLDING + "test_every_start_inside_the_interval_gives_the_same_pattern",),
    ),
    "Fold: the guess has no upper bound": Mutant(
        "folding.py",
        "hi = min(hi, (MAX if operation.ceiling is None else operation.ceiling) - offset)",
        "pass",
        "increments are applied beyond their ceiling, all callers being told that they had room",
        (_FOLDING + "test_the_optimistic_guard_admits_exactly_the_states_that_accept_all",),
    ),
    "Fold: repeated adds may overflow": Mutant(
        "folding.py",
        "if by == 0 or not MIN <= value + total <= MAX:",
        "if by == 0:",
        "values beyond 64 bits are answered",
        ("tests/unit/test_folding_repeated.py",),
    ),
    "Fold: the second of two adds is at the revision of the first": Mutant(
        "folding.py",
        "outcomes.append(Outcome(True, after, value, revision, at))",
        "outcomes.append(Outcome(True, after, value, revision_before + 1, at))",
        "two operations of a batch have the same ETag",
        (_FOLDING + "test_folding_in_pieces_equals_folding_at_once",),
    ),
    # What a driver's failure means.
    "Redis: a broken connection counts as definite": Mutant(
        "stores/redis/errors.py",
        "redis.ConnectionError: OutcomeUnknown,",
        "redis.ConnectionError: StoreUnavailable,",
        "a lost reply is told as not counted",
        ("tests/unit/test_redis_pure.py::test_what_comes_after_sending",),
    ),
    "MariaDB: a failed COMMIT counts as definite": Mutant(
        "stores/mysql/errors.py",
        "return _ours(at_commit if committing else before, error, title)",
        "return _ours(before, error, title)",
        "what was committed before the answer was lost is told as not counted",
        ("tests/unit/test_mysql_pure.py::test_at_commit_only_refused_transactions_are_definite",),
    ),
}
