-- Members' tiers, and what they rest on.

-- The end of the service's own log; its row lock orders the log.
CREATE TABLE log_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint NOT NULL
);
INSERT INTO log_head (position) VALUES (0);

-- Money spent, by purchase: the key is the purchase's place in the points log.
CREATE TABLE purchases (
    program text NOT NULL,
    member text NOT NULL,
    purchased_at timestamptz NOT NULL,
    shard smallint NOT NULL,
    position bigint NOT NULL,
    minor_units bigint NOT NULL,
    PRIMARY KEY (program, member, purchased_at, shard, position)
);

-- The tier of every member who has bought, as of the last change.
CREATE TABLE statuses (
    program text NOT NULL,
    member text NOT NULL,
    tier text NOT NULL,
    since timestamptz,
    evaluate_at timestamptz,
    reason smallint NOT NULL,
    PRIMARY KEY (program, member)
);
CREATE INDEX statuses_due ON statuses (evaluate_at) WHERE evaluate_at IS NOT NULL;
CREATE INDEX statuses_tier ON statuses (program, tier);

-- Changes of tier, in order: the service's log. Never changed.
CREATE TABLE tier_changes (
    position bigint PRIMARY KEY,
    program text NOT NULL,
    member text NOT NULL,
    previous_tier text NOT NULL,
    tier text NOT NULL,
    effective_at timestamptz NOT NULL,
    evaluate_at timestamptz,
    reason smallint NOT NULL,
    transaction text NOT NULL
);
CREATE INDEX tier_changes_member ON tier_changes (program, member, position);
