-- Stock and redemptions.

-- What has been given of each reward, and what redemptions under way have
-- reserved. How much there is in all stands in the programme.
CREATE TABLE reward_stock (
    program text NOT NULL,
    reward text NOT NULL,
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    issued bigint NOT NULL DEFAULT 0 CHECK (issued >= 0),
    PRIMARY KEY (program, reward)
) WITH (fillfactor = 50);

CREATE TABLE redemptions (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    member text NOT NULL,
    request_id text NOT NULL,
    reward text NOT NULL,
    -- What it costs, fixed when it was asked for.
    currency text NOT NULL,
    points bigint NOT NULL CHECK (points > 0),
    brand text NOT NULL,
    state text NOT NULL
        CHECK (state IN ('requested', 'held', 'issued', 'refused', 'released')),
    hold text,
    reason text,
    -- The voucher: a keyed hash to find it by, and the code, encrypted.
    voucher_hash bytea UNIQUE,
    voucher_sealed bytea,
    requested_at timestamptz NOT NULL,
    issued_at timestamptz,
    -- Whoever works on it has it until then; later, recovery takes over.
    leased_until timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    UNIQUE (program, member, request_id)
);
CREATE INDEX redemptions_unfinished ON redemptions (leased_until)
    WHERE state IN ('requested', 'held');
