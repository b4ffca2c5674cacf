-- Money spent, by member and day: a window is the sum of its days, and of the purchases of
-- the two days at its edges. Days are counted from 1970-01-01 in UTC.
CREATE TABLE spend_days (
    program text NOT NULL,
    member text NOT NULL,
    day integer NOT NULL,
    minor_units bigint NOT NULL,
    PRIMARY KEY (program, member, day)
);
INSERT INTO spend_days (program, member, day, minor_units)
SELECT program, member, floor(extract(epoch FROM purchased_at) / 86400)::integer,
       least(sum(minor_units), 9223372036854775807)::bigint
FROM purchases
GROUP BY 1, 2, 3;
