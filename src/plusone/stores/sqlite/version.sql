-- In one statement, so that another process that creates the schema meanwhile is seen either before or after.
SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
FROM pragma_application_id, pragma_user_version
