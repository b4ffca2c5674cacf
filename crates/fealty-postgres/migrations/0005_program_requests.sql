-- Who applied a version of a programme, why, and by which request.
ALTER TABLE programs
    ADD COLUMN actor text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN request_id text;
CREATE UNIQUE INDEX programs_request ON programs (program, request_id)
    WHERE request_id IS NOT NULL;
