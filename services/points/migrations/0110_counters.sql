-- The numbers of members that earning rules read and move: one packed row for a member,
-- in the encoding of `shard/store/counters.rs`.
CREATE TABLE counters (
    member_no bigint NOT NULL,
    shard smallint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (member_no, shard)
);

CREATE TYPE counters_row AS (
    member_no bigint,
    body bytea
);
ALTER TABLE row_types ADD COLUMN counters counters_row;
