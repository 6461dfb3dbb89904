-- Digests, identifiers and CBOR are BLOB. Times are milliseconds since 1970, UTC.

CREATE TABLE projects (
    id BLOB NOT NULL PRIMARY KEY,
    spec BLOB NOT NULL,
    initial_blob BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE uploads (
    project BLOB NOT NULL REFERENCES projects (id),
    id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    header BLOB NOT NULL,
    contributor BLOB NOT NULL,
    row_count INTEGER NOT NULL,
    byte_count INTEGER NOT NULL,
    rows_blob BLOB,
    projections_blob BLOB,
    verdict BLOB,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, id)
) STRICT;

CREATE TABLE rounds (
    project BLOB NOT NULL REFERENCES projects (id),
    round INTEGER NOT NULL,
    summary BLOB NOT NULL,
    used BLOB NOT NULL,
    state_blob BLOB,
    model_blob BLOB NOT NULL,
    receipt BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, round)
) STRICT;

CREATE TABLE faults (
    project BLOB NOT NULL REFERENCES projects (id),
    sequence INTEGER NOT NULL,
    report BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, sequence)
) STRICT;

CREATE TABLE orders (
    project BLOB NOT NULL REFERENCES projects (id),
    sequence INTEGER NOT NULL,
    signed BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, sequence)
) STRICT;

CREATE TABLE enrolments (
    project BLOB NOT NULL REFERENCES projects (id),
    contributor BLOB NOT NULL,
    token BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, contributor, token)
) STRICT;

CREATE TABLE holdings (
    project BLOB NOT NULL REFERENCES projects (id),
    holder BLOB NOT NULL,
    token BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, holder)
) STRICT;

CREATE TABLE jobs (
    project BLOB NOT NULL REFERENCES projects (id),
    kind TEXT NOT NULL,
    key BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    payload BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    lease BLOB,
    failure TEXT,
    created INTEGER NOT NULL,
    PRIMARY KEY (project, kind, key)
) STRICT;

CREATE TABLE partials (
    id BLOB NOT NULL PRIMARY KEY,
    project BLOB NOT NULL REFERENCES projects (id),
    sender BLOB NOT NULL,
    byte_count INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

CREATE INDEX uploads_in_order ON uploads (project, sequence);
CREATE INDEX uploads_of_contributor ON uploads (project, contributor);
CREATE INDEX partials_of_sender ON partials (project, sender);
