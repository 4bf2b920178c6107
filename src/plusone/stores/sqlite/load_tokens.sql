-- Which of these are recorded and not expired; asked for as [[counter, token], ...].
SELECT json_group_array(json_array(
    tokens.counter, tokens.token, tokens.data, tokens.value, tokens.revision, tokens.existed
))
FROM json_each(?) AS asked
CROSS JOIN tokens ON tokens.counter = asked.value ->> 0 AND tokens.token = asked.value ->> 1
WHERE tokens.expires_ms > ?
