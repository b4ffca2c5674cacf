-- Up to which version the counters that count what was before they began are worked out for all
-- members in a shard.
ALTER TABLE begun_versions ADD COLUMN backfilled integer NOT NULL DEFAULT 0;
ALTER TABLE row_types DROP COLUMN version;
ALTER TYPE version_row ADD ATTRIBUTE backfilled integer;
ALTER TABLE row_types ADD COLUMN version version_row;

-- What has come back of a member's purchases is read when its counters are worked out.
CREATE INDEX returns_member ON returns (member_no, shard);
