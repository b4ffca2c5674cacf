-- What has come back of purchases: what of which lines, and what of the member's numbers that
-- the purchase moved still stands. In the encoding of `shard/store/rows.rs`.
CREATE TABLE returns (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    member_no bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (shard, position)
);
