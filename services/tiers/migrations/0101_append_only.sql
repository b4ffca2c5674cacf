-- The log of tier changes refuses to be changed, whoever asks.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END
$$;
CREATE TRIGGER tier_changes_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON tier_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
