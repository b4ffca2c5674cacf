-- Members who were brought by others, by what they claimed. What comes of a claim follows from
-- the log; here stands how far it is, and when it is to be looked at again.
CREATE TABLE referrals (
    member text NOT NULL,
    program text NOT NULL,
    shard smallint NOT NULL,
    -- Where the claim stands in the log.
    claim bigint NOT NULL,
    -- 1: it waits; 2: both sides are given; 3: nothing comes of it; 4: it is decided that both
    -- sides are given, and not both are yet.
    state smallint NOT NULL,
    look_at timestamptz NOT NULL,
    -- When both sides are given, if the purchase stays; none where no purchase counts yet.
    due_at timestamptz,
    -- Up to where the log was read, and nothing in it counts.
    read_to bigint NOT NULL,
    PRIMARY KEY (member, program, shard)
);

CREATE INDEX referrals_look ON referrals (shard, program, look_at) WHERE state IN (1, 4);
