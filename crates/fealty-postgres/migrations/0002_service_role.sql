-- The privileges of the role that a service connects as, where another one
-- owns the tables: it reads and writes rows, but defines nothing, and what is
-- append-only it can neither update nor delete. Append-only are the tables
-- whose trigger is `refuse_change`.
CREATE FUNCTION grant_service_role(role text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    log regclass;
BEGIN
    IF role = current_user THEN
        RAISE EXCEPTION 'the service role must not be the role that owns the tables';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I',
        current_schema(), role
    );
    FOR log IN
        SELECT DISTINCT t.tgrelid::regclass
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE p.proname = 'refuse_change' AND p.pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM %I', log, role);
    END LOOP;
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM %I', role);
END
$$;
