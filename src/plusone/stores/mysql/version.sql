SELECT COALESCE(MAX(version), 0) FROM plusone_schema
