-- What a shard has of budgets: its own lease of each, and, at a budget's home, its pool.
CREATE TABLE leases (
    program text NOT NULL,
    budget text NOT NULL,
    shard smallint NOT NULL,
    lying bigint NOT NULL,
    used bigint NOT NULL,
    confirmed integer NOT NULL,
    leased bigint NOT NULL,
    version integer NOT NULL,
    warned bigint NOT NULL,
    PRIMARY KEY (program, budget, shard)
);

CREATE TYPE lease_row AS (
    program text,
    budget text,
    lying bigint,
    used bigint,
    confirmed integer,
    leased bigint,
    version integer,
    warned bigint
);
ALTER TABLE row_types ADD COLUMN lease lease_row;
