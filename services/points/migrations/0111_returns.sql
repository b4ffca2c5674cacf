-- Returns.

-- What a purchase's facts have of counters is more than it was, for returns need it. No
-- release wrote counters.
DO $$
BEGIN
    IF EXISTS (SELECT FROM counters) THEN
        RAISE EXCEPTION 'these counters were written by a development version and cannot be carried on';
    END IF;
END
$$;

-- What has come back of purchases: what of which lines, and what of the member's numbers that
-- the purchase moved still stands. In the encoding of `shard/store/rows.rs`.
CREATE TABLE returns (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    member_no bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (shard, position)
);
