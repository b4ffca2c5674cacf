-- Pending lots by what becomes of them first: they are activated, or, where they wait for
-- an event, expire. Those of which nothing is left are not among them; a column of its own
-- says so, for an index that names `remaining` would be touched by every spend of a part.
ALTER TABLE lots
    ADD COLUMN waiting boolean GENERATED ALWAYS AS (pending AND remaining > 0) STORED;
DROP INDEX lots_pending;
CREATE INDEX lots_pending ON lots
    (member_no, shard, currency, least(activates_at, expires_at), activates_at, lot)
    WHERE waiting;
