-- The ends of periods: which version was in force when one ended, and up to when they are
-- written.

-- When the version in force began. One that began before this says nothing of periods' ends.
ALTER TABLE begun_versions ADD COLUMN begun_at timestamptz;
UPDATE begun_versions SET begun_at = timestamptz '1970-01-01 00:00:00+00';
ALTER TABLE begun_versions ALTER COLUMN begun_at SET NOT NULL;
ALTER TABLE row_types DROP COLUMN version;
ALTER TYPE version_row ADD ATTRIBUTE begun_at timestamptz;
ALTER TABLE row_types ADD COLUMN version version_row;

-- All versions that ever began in a shard.
CREATE TABLE version_history (
    program text NOT NULL,
    shard smallint NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    begun_at timestamptz NOT NULL,
    PRIMARY KEY (program, shard, version)
);
INSERT INTO version_history (program, shard, version, position, begun_at)
SELECT program, shard, version, position, begun_at FROM begun_versions;

-- Up to when the ends of all periods are written, for all members in a shard.
CREATE TABLE period_ends (
    program text NOT NULL,
    shard smallint NOT NULL,
    through timestamptz NOT NULL,
    PRIMARY KEY (program, shard)
);
CREATE TYPE period_ends_row AS (
    program text,
    through timestamptz
);
ALTER TABLE row_types ADD COLUMN period_ends period_ends_row;
