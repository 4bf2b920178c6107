-- Whether the schema is there, and its table of the version.
SELECT to_regnamespace($1::text) IS NOT NULL, to_regclass($1::text || '.schema_version') IS NOT NULL
