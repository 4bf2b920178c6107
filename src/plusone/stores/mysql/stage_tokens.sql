INSERT INTO plusone_tokens (counter, token, asked)
VALUES {rows}
ON DUPLICATE KEY UPDATE asked = VALUES(asked)
