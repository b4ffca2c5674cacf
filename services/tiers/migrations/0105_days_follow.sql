-- What is spent by day follows the purchases by itself: an instance of before, which takes
-- purchases beside a new one, does not know of it. So that none of its purchases is missed,
-- none is taken until this is committed.
LOCK TABLE purchases IN SHARE ROW EXCLUSIVE MODE;

CREATE FUNCTION add_to_spend_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spend_days AS known (program, member, day, minor_units)
    SELECT program, member, floor(extract(epoch FROM purchased_at) / 86400)::integer,
           least(sum(minor_units), 9223372036854775807)::bigint
    FROM made
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (program, member, day) DO UPDATE
    SET minor_units = least(known.minor_units::numeric + excluded.minor_units,
                            9223372036854775807)::bigint;
    RETURN NULL;
END
$$;
CREATE TRIGGER purchases_by_day
    AFTER INSERT ON purchases REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_spend_days();

-- What was missed since the days were first filled.
INSERT INTO spend_days AS known (program, member, day, minor_units)
SELECT program, member, floor(extract(epoch FROM purchased_at) / 86400)::integer,
       least(sum(minor_units), 9223372036854775807)::bigint
FROM purchases
GROUP BY 1, 2, 3
ON CONFLICT (program, member, day) DO UPDATE SET minor_units = excluded.minor_units
WHERE known.minor_units <> excluded.minor_units;
