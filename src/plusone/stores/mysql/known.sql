(SELECT COUNT(*) FROM plusone_tokens WHERE counter = {counter} AND token IN ({tokens}) AND expires_ms > {now})
