-- Pending lots by what becomes of them first: they are activated, or, where they wait for
-- an event, expire. Those of which nothing is left are not among them.
DROP INDEX lots_pending;
CREATE INDEX lots_pending ON lots
    (member_no, shard, currency, least(activates_at, expires_at), activates_at, lot)
    WHERE pending AND remaining > 0;
