-- The refinery that may write, told from others by a token of its own: every change looks here whether it still is its
-- maker's turn. `epoch` counts how often the records were taken over.
CREATE TABLE writer (
    id INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    token BLOB NOT NULL,
    since INTEGER NOT NULL
) STRICT;
