SELECT counter, token, data, value, revision, existed
FROM plusone_tokens
WHERE expires_ms > {now} AND ({tokens})
FOR UPDATE
