-- The complete ledger: reversals, debt, inactivity, totals by issuer.

-- Its transactions are written in format 2, which says more than format 1 did.
-- No release wrote format 1.
DO $$
BEGIN
    IF EXISTS (SELECT FROM transactions) THEN
        RAISE EXCEPTION 'this ledger was written by a development version and cannot be carried on';
    END IF;
END
$$;

-- When the points that go with inactivity are gone.
ALTER TABLE wallets ADD COLUMN inactive_at timestamptz;

-- `expired` counts points that expired, and neither came back nor were taken
-- back. `spendable` says that points remain and are not pending: a column of
-- its own, so that spending a part of a lot touches no index.
ALTER TABLE lots
    ADD COLUMN expired bigint NOT NULL CHECK (expired >= 0),
    ADD COLUMN unit_value_micros bigint,
    ADD COLUMN spendable boolean NOT NULL,
    ALTER COLUMN program_version TYPE integer;
DROP INDEX lots_spendable;
DROP INDEX lots_pending;
CREATE INDEX lots_spendable ON lots (shard, member_no, currency, expires_at, lot) WHERE spendable;
CREATE INDEX lots_pending ON lots (shard, member_no, currency) WHERE pending;

-- What has been reversed of a transaction, by lot.
CREATE TABLE reversals (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    member_no bigint NOT NULL,
    lots bigint[] NOT NULL,
    points bigint[] NOT NULL,
    PRIMARY KEY (shard, position)
);

-- Where in its shard's log an order was recorded.
ALTER TABLE orders ADD COLUMN position bigint NOT NULL;

-- Debits and credits by account and issuing brand, and the last position that
-- changed them. `numeric`, for many times 10^15 pass bigint.
DROP TABLE accounts;
CREATE TABLE accounts (
    shard smallint NOT NULL,
    program text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    brand text NOT NULL,
    issuer text NOT NULL,
    debits numeric NOT NULL,
    credits numeric NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (shard, program, currency, kind, brand, issuer)
) WITH (fillfactor = 50);

-- The same at earlier positions: every 1,000 transactions or so, the accounts
-- that changed since the mark before. Totals at any position are those of the
-- mark before it and the transactions in between.
CREATE TABLE marks (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (shard, position)
);
CREATE TABLE account_marks (
    shard smallint NOT NULL,
    program text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    brand text NOT NULL,
    issuer text NOT NULL,
    position bigint NOT NULL,
    debits numeric NOT NULL,
    credits numeric NOT NULL,
    PRIMARY KEY (shard, program, currency, kind, brand, issuer, position)
);
CREATE TRIGGER marks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON marks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER account_marks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_marks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX account_marks_position ON account_marks (shard, position);
