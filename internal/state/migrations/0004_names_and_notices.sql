-- 1 where other messages may have the same name: what has it already when the
-- message is published is then another one.
ALTER TABLE message ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;

-- A command that has still to be run for a message that was saved.
CREATE TABLE notice (
    seq        INTEGER PRIMARY KEY,
    connection TEXT    NOT NULL,
    dir        TEXT    NOT NULL,
    temp       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    facts      TEXT    NOT NULL, -- JSON
    saved      INTEGER NOT NULL, -- Unix seconds
    tries      INTEGER NOT NULL  -- that failed
) STRICT;
CREATE INDEX notice_connection ON notice (connection, seq);
