-- Privileges keep the log as it is, not triggers.
DROP TRIGGER tier_changes_append_only ON tier_changes;
DROP FUNCTION refuse_change();
