-- What a log may not suffer, privileges keep from it: triggers would keep a table
-- from being distributed, and cost every statement a look.
DROP FUNCTION grant_service_role(text);

-- Takes from the tables' owner, who is asking, the right to change what is
-- append-only. It can give the right back to itself: that takes a decision, not
-- a slip. A migration that must change such rows does so first.
CREATE FUNCTION protect_from_owner(append_only text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    log text;
BEGIN
    -- One instance at a time. The number tells this lock from others.
    PERFORM pg_advisory_xact_lock(7352);
    FOREACH log IN ARRAY append_only LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM CURRENT_USER', log);
    END LOOP;
END
$$;

-- The privileges of the role that a service connects as, where another one owns
-- the tables: it reads and writes rows, but defines nothing, and what is
-- append-only it can neither update nor delete.
CREATE FUNCTION grant_service_role(role text, append_only text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known text;
BEGIN
    IF role = current_user THEN
        RAISE EXCEPTION 'the service role must not be the role that owns the tables';
    END IF;
    PERFORM pg_advisory_xact_lock(7352);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    FOR known IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        IF known = ANY (append_only) THEN
            EXECUTE format('GRANT SELECT, INSERT ON %I TO %I', known, role);
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM %I', known, role);
        ELSIF known = '_sqlx_migrations' THEN
            EXECUTE format('GRANT SELECT ON %I TO %I', known, role);
            EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %I FROM %I', known, role);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', known, role);
        END IF;
    END LOOP;
END
$$;

-- Whether a table lies on several nodes. Its statements are text, for they do
-- not parse where the extension is missing.
CREATE FUNCTION is_distributed(name text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    known boolean := false;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_dist_partition
                                WHERE logicalrelid = $1::regclass AND partmethod = ''h'')'
            INTO known USING name;
    END IF;
    RETURN known;
END
$$;

-- Distributes tables by their shard, the rows of a shard together on one node;
-- answers whether there is an extension that can. What is distributed stays as it is.
CREATE FUNCTION distribute(tables text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(7352);
    FOREACH name IN ARRAY tables LOOP
        IF NOT is_distributed(name) THEN
            EXECUTE 'SELECT create_distributed_table($1::regclass, ''shard'', colocate_with => $2)'
                USING name, CASE WHEN name = tables[1] THEN 'none' ELSE tables[1] END;
        END IF;
    END LOOP;
    RETURN true;
END
$$;
