-- Who applied a version of a programme, and why.
ALTER TABLE programs
    ADD COLUMN actor text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '';

-- What became of each request to apply one: also of those that changed nothing.
CREATE TABLE program_requests (
    program text NOT NULL,
    request_id text NOT NULL,
    version bigint NOT NULL,
    digest text NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (program, request_id)
);
