-- What people did to the books, and what support read of members. Never changed.
CREATE TABLE audit_log (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject text NOT NULL,
    acting_for text,
    roles text[] NOT NULL,
    method text NOT NULL,
    program text,
    member text,
    reason text,
    before jsonb,
    after jsonb,
    transaction text
);
CREATE INDEX audit_log_member ON audit_log (program, member, number DESC);
CREATE INDEX audit_log_subject ON audit_log (subject, number DESC);
