-- Format 6: tiers decide whether points go with inactivity.

-- No release wrote format 5.
DO $$
BEGIN
    IF EXISTS (SELECT FROM transactions) THEN
        RAISE EXCEPTION 'this ledger was written by a development version and cannot be carried on';
    END IF;
END
$$;

-- Whether points that go with inactivity go: 0 they do, 1 they stay, for the member has
-- a tier whose points do.
ALTER TABLE wallets ADD COLUMN inactivity smallint NOT NULL DEFAULT 0;
ALTER TABLE row_types DROP COLUMN wallet;
ALTER TYPE wallet_row ADD ATTRIBUTE inactivity smallint;
ALTER TABLE row_types ADD COLUMN wallet wallet_row;

-- Members whose tier, or what their programme says of it, is another from `due_at` on:
-- what that means for their wallets is still to be written.
CREATE TABLE tier_changes_due (
    member text NOT NULL,
    program text NOT NULL,
    shard smallint NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (member, program, shard, due_at)
);
CREATE INDEX tier_changes_due_by_time ON tier_changes_due (shard, due_at);

-- Shards in which a version of a programme says something else of some tiers: their members
-- are gone through, in the order of their names, and noted above.
CREATE TABLE tier_renewals (
    program text NOT NULL,
    shard smallint NOT NULL,
    -- When that version was applied.
    since timestamptz NOT NULL,
    -- Who ever had one of these is looked at; a tier may be named twice.
    tiers text[] NOT NULL,
    -- Members up to here have been noted.
    after_member text NOT NULL DEFAULT '',
    PRIMARY KEY (program, shard)
);
