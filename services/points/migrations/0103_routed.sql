-- Every statement of a batch names one shard, so that a distributed Postgres can
-- route it to one node. See docs/citus.md.

-- On a ledger with data this takes its time; the version before must have stopped,
-- for what a batch writes of orders changes.
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on;

-- How many shards there are, for ever.
CREATE TABLE installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    shards smallint NOT NULL
);
INSERT INTO installation (shards) SELECT count(*) FROM shards HAVING count(*) > 0;

-- Whoever takes an order number over from a batch that may still be under way
-- moves the fence of its shard, so that the batch cannot write any more.
ALTER TABLE shards ADD COLUMN fence bigint NOT NULL DEFAULT 0;

-- An order number is unique for its brand over all shards, so its row lies in a
-- shard that follows from its key alone, not in the member's. The transaction
-- that has it is found by its request's key, in the member's shard. `claim`
-- names the attempt that claimed it last, where orders are claimed before a
-- batch is written.
ALTER TABLE orders RENAME COLUMN shard TO member_shard;
ALTER TABLE orders
    ADD COLUMN shard smallint,
    ADD COLUMN request_key uuid,
    ADD COLUMN claim uuid;
UPDATE orders SET
    shard = ('x' || substr(order_key::text, 1, 4))::bit(16)::integer
        % (SELECT shards FROM installation),
    request_key = t.request_key
FROM transactions t WHERE t.shard = orders.member_shard AND t.position = orders.position;
ALTER TABLE orders
    DROP CONSTRAINT orders_pkey,
    DROP COLUMN position,
    ALTER COLUMN shard SET NOT NULL,
    ALTER COLUMN request_key SET NOT NULL,
    ADD PRIMARY KEY (order_key, shard);
DROP TYPE order_row;
CREATE TYPE order_row AS (
    shard smallint,
    order_key uuid,
    request_key uuid
);

-- Privileges keep the log as it is, not triggers.
DROP TRIGGER transactions_append_only ON transactions;
DROP TRIGGER marks_append_only ON marks;
DROP TRIGGER account_marks_append_only ON account_marks;
DROP FUNCTION refuse_change();

-- What a batch asks for and what it is answered: an array of rows for each table.
CREATE TYPE member_number AS (
    index bigint,
    member_no bigint
);
CREATE TYPE seen_row AS (
    request_key uuid,
    body bytea,
    chain bytea
);
CREATE TYPE tier_row AS (
    index bigint,
    tier text
);
-- A wallet of which lots are wanted: `points` in the order of spending, in no more
-- than `lots_max` lots; with `due`, what is pending and what is held as well; with `holds`, its open holds.
CREATE TYPE asked_wallet AS (
    member_no bigint,
    currency text,
    points bigint,
    lots_max integer,
    due boolean,
    holds boolean
);

-- Has no rows: a table with columns of these types, so that they are wherever the
-- tables are, also where those are distributed later.
CREATE TABLE row_types (
    shard smallint NOT NULL,
    member member_row,
    transaction transaction_row,
    account account_row,
    wallet wallet_row,
    lot lot_row,
    hold hold_row,
    reversal reversal_row,
    order_of order_row,
    number member_number,
    seen seen_row,
    tier tier_row,
    asked asked_wallet
);
