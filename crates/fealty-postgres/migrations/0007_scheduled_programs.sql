-- Versions of programmes that come into force at a moment; one of each programme. In
-- points that is decided. In tiers and rewards it waits until points has it, too.
CREATE TABLE scheduled_programs (
    program text PRIMARY KEY,
    version bigint NOT NULL,
    begins_at timestamptz NOT NULL,
    digest text NOT NULL,
    source text NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    request_id text NOT NULL
);
