-- Adjustments that wait for a second person. What comes of them is in the log; these
-- rows are how they got there.
CREATE TABLE adjustments (
    shard smallint NOT NULL,
    id uuid NOT NULL,
    program text NOT NULL,
    member text NOT NULL,
    -- The brand that bears it: who speaks for some brands lists theirs.
    brand text NOT NULL,
    request_key uuid NOT NULL,
    -- What is to be done, in borsh: brand, currency, points, whether they are given,
    -- reason, note, metadata.
    body bytea NOT NULL,
    -- 1 proposed, 2 approved, 3 rejected.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    proposed_by text NOT NULL,
    -- Whose credentials brought it: the proposer's, or a service's.
    carried_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text,
    decided_at timestamptz,
    decision_note text NOT NULL DEFAULT '',
    decision_request text,
    position bigint,
    PRIMARY KEY (id, shard)
);
CREATE UNIQUE INDEX adjustments_request ON adjustments (request_key, shard);
CREATE INDEX adjustments_program ON adjustments (program, proposed_at, id);
