-- Who asked for a redemption: recovery acts for them too. Unknown of those that
-- were asked for before.
ALTER TABLE redemptions ADD COLUMN asked_by text;
