-- Format 7: entries are packed, so they cannot be searched by a currency's name. A bit for
-- each currency whose wallet an entry touched, of fifteen; all, of what was written before.
ALTER TABLE transactions ADD COLUMN currencies smallint NOT NULL DEFAULT -1;
ALTER TABLE row_types DROP COLUMN transaction;
ALTER TYPE transaction_row ADD ATTRIBUTE currencies smallint;
ALTER TABLE row_types ADD COLUMN transaction transaction_row;
