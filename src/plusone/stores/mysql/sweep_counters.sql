-- A token is recorded together with a session, so none was recorded for an hour where none was written.
DELETE FROM plusone_counters
WHERE counter IN ({counters}) AND expires_ms <= {now} AND written_ms <= {now} - {kept_ms}
