-- What callers declare personal stands beside the log, where it can be deleted.

-- What the hashes in the log are salted with: one key for a member, and none any more
-- once what is personal was erased.
CREATE TABLE personal_keys (
    member text NOT NULL,
    program text NOT NULL,
    shard smallint NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (member, program, shard)
);

-- The values, by the request that brought them and the field that they stood in.
CREATE TABLE personal_values (
    member text NOT NULL,
    program text NOT NULL,
    shard smallint NOT NULL,
    request_key uuid NOT NULL,
    field text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (member, program, shard, request_key, field)
);
