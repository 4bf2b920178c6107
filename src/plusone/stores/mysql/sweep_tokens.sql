DELETE FROM plusone_tokens WHERE expires_ms <= {now} AND ({tokens})
