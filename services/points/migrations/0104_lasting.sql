-- A log that can last: format 4. See ARCHITECTURE.md for what changes after it.

-- No release wrote formats 2 and 3.
DO $$
BEGIN
    IF EXISTS (SELECT FROM transactions) THEN
        RAISE EXCEPTION 'this ledger was written by a development version and cannot be carried on';
    END IF;
END
$$;

-- When the last transaction of the shard was written: it never goes back.
ALTER TABLE shards ADD COLUMN written_at timestamptz NOT NULL DEFAULT 'epoch';

-- The key under which the places of transactions are told to callers. Whoever loses it
-- loses the meaning of every id that was given out.
ALTER TABLE installation ADD COLUMN id_key bytea CHECK (length(id_key) = 16);
UPDATE installation SET id_key = uuid_send(gen_random_uuid());
ALTER TABLE installation ALTER COLUMN id_key SET NOT NULL;

-- What the points of a lot wait for.
ALTER TABLE lots ADD COLUMN activates_on text;
ALTER TABLE row_types DROP COLUMN lot;
ALTER TYPE lot_row ADD ATTRIBUTE activates_on text;
ALTER TABLE row_types ADD COLUMN lot lot_row;
