-- The ledger. Every key begins with `shard`: no statement of a batch reaches
-- into another shard.

-- The end of each shard's log. Locking its row is the only lock that a batch
-- takes; it orders everything in the shard.
CREATE TABLE shards (
    shard smallint PRIMARY KEY,
    position bigint NOT NULL,
    chain bytea NOT NULL,
    members bigint NOT NULL
) WITH (fillfactor = 10);

-- The log. `body` holds the canonical bytes of the transaction, `chain` is
-- sha256(chain before || body). The other columns repeat what the body says,
-- to find it; fealty verify compares them.
CREATE TABLE transactions (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    member_no bigint NOT NULL,
    request_key uuid,
    body bytea NOT NULL,
    chain bytea NOT NULL,
    PRIMARY KEY (shard, position)
);
ALTER TABLE transactions ALTER COLUMN body SET STORAGE MAIN;
CREATE UNIQUE INDEX transactions_request ON transactions (shard, request_key)
    WHERE request_key IS NOT NULL;
CREATE INDEX transactions_member ON transactions (shard, member_no, position);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END
$$;
CREATE TRIGGER transactions_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Members by a short number, given at the first transaction.
CREATE TABLE members (
    shard smallint NOT NULL,
    member_no bigint NOT NULL,
    program text NOT NULL,
    member text NOT NULL,
    PRIMARY KEY (shard, member_no)
);
CREATE UNIQUE INDEX members_name ON members (shard, program, member);

CREATE TABLE wallets (
    shard smallint NOT NULL,
    member_no bigint NOT NULL,
    currency text NOT NULL,
    pending bigint NOT NULL CHECK (pending >= 0),
    available bigint NOT NULL CHECK (available >= 0),
    held bigint NOT NULL CHECK (held >= 0),
    debt bigint NOT NULL CHECK (debt >= 0),
    sequence bigint NOT NULL,
    last_position bigint NOT NULL,
    last_at timestamptz NOT NULL,
    next_due timestamptz,
    PRIMARY KEY (shard, member_no, currency)
) WITH (fillfactor = 80);
CREATE INDEX wallets_due ON wallets (shard, next_due) WHERE next_due IS NOT NULL;

-- `lot` is the position of the transaction that made it, times 256, plus its
-- number there. What never expires has an `expires_at` in the year 9999, so
-- that the order of spending is that of one index.
CREATE TABLE lots (
    shard smallint NOT NULL,
    lot bigint NOT NULL,
    member_no bigint NOT NULL,
    currency text NOT NULL,
    brand text NOT NULL,
    amount bigint NOT NULL,
    remaining bigint NOT NULL CHECK (remaining >= 0),
    held bigint NOT NULL CHECK (held >= 0),
    earned_at timestamptz NOT NULL,
    activates_at timestamptz,
    expires_at timestamptz NOT NULL,
    program_version bigint NOT NULL,
    origin smallint NOT NULL,
    pending boolean NOT NULL,
    PRIMARY KEY (shard, lot)
) WITH (fillfactor = 90);
CREATE INDEX lots_spendable ON lots (shard, member_no, currency, expires_at, earned_at, lot)
    WHERE remaining > 0 AND NOT pending;
CREATE INDEX lots_pending ON lots (shard, member_no, currency, activates_at, lot)
    WHERE remaining > 0 AND pending;

-- Holds by the position of the transaction that made them. `lots` and
-- `points` say what is left, in the order of capture; both are empty once it
-- has ended.
CREATE TABLE holds (
    shard smallint NOT NULL,
    hold bigint NOT NULL,
    member_no bigint NOT NULL,
    currency text NOT NULL,
    brand text NOT NULL,
    expires_at timestamptz NOT NULL,
    lots bigint[] NOT NULL,
    points bigint[] NOT NULL,
    open boolean NOT NULL,
    PRIMARY KEY (shard, hold)
);
CREATE INDEX holds_open ON holds (shard, member_no, currency) WHERE open;

-- Debits and credits by account. `numeric`, for many times 10^15 pass bigint.
CREATE TABLE accounts (
    shard smallint NOT NULL,
    program text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    brand text NOT NULL,
    debits numeric NOT NULL,
    credits numeric NOT NULL,
    PRIMARY KEY (shard, program, currency, kind, brand)
) WITH (fillfactor = 50);

-- Order numbers that have been recorded, over all shards: a receipt counts
-- once, whoever shows it.
CREATE TABLE orders (
    order_key uuid PRIMARY KEY,
    shard smallint NOT NULL
);

-- The tiers service's feed, as far as purchases need it.
CREATE TABLE member_tiers (
    shard smallint NOT NULL,
    program text NOT NULL,
    member text NOT NULL,
    effective_at timestamptz NOT NULL,
    tier text NOT NULL,
    PRIMARY KEY (shard, program, member, effective_at)
);
