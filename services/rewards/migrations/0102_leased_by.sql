-- Whose the lease of a redemption is: a token that is made when it is taken. Each
-- step is taken by it alone, and it alone gives the lease up. Unknown of those
-- that were taken before.
ALTER TABLE redemptions ADD COLUMN leased_by uuid;
