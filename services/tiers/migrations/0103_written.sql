-- When a change was written: the log can be followed from a time on.

-- No release wrote a log without.
DO $$
BEGIN
    IF EXISTS (SELECT FROM tier_changes) THEN
        RAISE EXCEPTION 'these tiers were written by a development version and cannot be carried on';
    END IF;
END
$$;
ALTER TABLE tier_changes ADD COLUMN written_at timestamptz NOT NULL;
CREATE INDEX tier_changes_written ON tier_changes (written_at, position);
-- When the last change was written: the next is not before it.
ALTER TABLE log_head ADD COLUMN written_at timestamptz NOT NULL DEFAULT '1970-01-01T00:00Z';
