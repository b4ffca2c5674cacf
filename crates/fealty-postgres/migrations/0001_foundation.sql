-- What every service keeps.

-- Versions of programme files, as applied. Never changed.
CREATE TABLE programs (
    program text NOT NULL,
    version bigint NOT NULL,
    effective_at timestamptz NOT NULL,
    digest text NOT NULL,
    source text NOT NULL,
    PRIMARY KEY (program, version)
);

-- How far the feeds of other services have been read.
CREATE TABLE feed_cursors (
    source text PRIMARY KEY,
    cursor text NOT NULL
);

-- The time of a test clock; no row on the machine's clock.
CREATE TABLE test_clock (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    now timestamptz NOT NULL
);
