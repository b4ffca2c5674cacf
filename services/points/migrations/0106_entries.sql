-- Format 5: entries of a log that belong to no member, and debts with their creditors.

-- No release wrote format 4.
DO $$
BEGIN
    IF EXISTS (SELECT FROM transactions) THEN
        RAISE EXCEPTION 'this ledger was written by a development version and cannot be carried on';
    END IF;
END
$$;

-- A notice has no member.
ALTER TABLE transactions ALTER COLUMN member_no DROP NOT NULL;

-- The version of each programme that requests are planned by in a shard: it began
-- with a notice in the shard's log, at `position`.
CREATE TABLE begun_versions (
    program text NOT NULL,
    shard smallint NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (program, shard)
);
CREATE TYPE version_row AS (
    program text,
    version integer,
    position bigint
);
ALTER TABLE row_types ADD COLUMN version version_row;

-- What a wallet owes to which account of which brand, oldest first; null where it owes
-- nothing. The column `debt` is their sum.
ALTER TABLE wallets
    ADD COLUMN debt_kinds text[],
    ADD COLUMN debt_brands text[],
    ADD COLUMN debt_points bigint[],
    -- Since ever: what brands gave less what they took back, and what was redeemed less
    -- what was restored.
    ADD COLUMN earned bigint NOT NULL DEFAULT 0,
    ADD COLUMN redeemed bigint NOT NULL DEFAULT 0;
ALTER TABLE row_types DROP COLUMN wallet;
ALTER TYPE wallet_row ADD ATTRIBUTE debt_kinds text[];
ALTER TYPE wallet_row ADD ATTRIBUTE debt_brands text[];
ALTER TYPE wallet_row ADD ATTRIBUTE debt_points bigint[];
ALTER TYPE wallet_row ADD ATTRIBUTE earned bigint;
ALTER TYPE wallet_row ADD ATTRIBUTE redeemed bigint;
ALTER TABLE row_types ADD COLUMN wallet wallet_row;
