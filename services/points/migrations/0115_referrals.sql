-- Members who were brought by others, by what they claimed. All of it follows from the log;
-- here stands when it is to be looked at again.
CREATE TABLE referrals (
    member text NOT NULL,
    program text NOT NULL,
    shard smallint NOT NULL,
    -- Where the claim stands in the log.
    claim bigint NOT NULL,
    -- 1: it waits; 2: both sides are given; 3: nothing comes of it.
    state smallint NOT NULL,
    look_at timestamptz NOT NULL,
    -- When both sides are given, if the purchase stays; none where no purchase counts yet.
    due_at timestamptz,
    PRIMARY KEY (member, program, shard)
);

CREATE INDEX referrals_look ON referrals (shard, look_at) WHERE state = 1;
