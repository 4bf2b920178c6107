-- What the step made of a row: what an applied request is answered from, and behind it what all the others are.
counter, outcome, value_before, revision_before, existed_before,
last_seq, IF(was_alive, value, 0), revision, was_alive, writer, now_ms, IF(outcome IN (2, 7), others, NULL)
