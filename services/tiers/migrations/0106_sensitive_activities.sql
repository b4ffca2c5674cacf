-- What happened to members and belongs into no log that is kept for ever. It is told to nobody
-- but who asks for the member's, and may be deleted.
CREATE TABLE sensitive_activities (
    id uuid PRIMARY KEY,
    program text NOT NULL,
    member text NOT NULL,
    activity text NOT NULL,
    activity_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    attributes jsonb NOT NULL,
    UNIQUE (program, activity, activity_id)
);
CREATE INDEX sensitive_activities_of_member ON sensitive_activities (program, member, id);
