SELECT counter, token FROM plusone_tokens WHERE expires_ms <= {now} ORDER BY expires_ms LIMIT {limit}
