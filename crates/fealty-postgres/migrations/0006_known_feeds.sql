-- Up to when all of a feed is known to have been told by its cursor; null where nobody
-- has said so.
ALTER TABLE feed_cursors ADD COLUMN known_at timestamptz;
