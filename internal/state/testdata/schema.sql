CREATE TABLE box (
    id         INTEGER PRIMARY KEY,
    connection TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    validity   INTEGER NOT NULL, -- UIDVALIDITY; POP3: 0
    saved      TEXT    NOT NULL, -- UIDs on record
    seen       TEXT    NOT NULL, -- those of them that SEEN is in force for
    voided     INTEGER           -- Unix seconds; NULL for the present box of the connection
) STRICT;
CREATE TABLE fault (
    box       INTEGER NOT NULL REFERENCES box (id) ON DELETE CASCADE,
    uid       INTEGER NOT NULL,
    uidl      TEXT    NOT NULL,
    size      INTEGER NOT NULL,
    too_large INTEGER NOT NULL,
    jobs      INTEGER NOT NULL,
    reason    TEXT    NOT NULL, unwanted INTEGER NOT NULL DEFAULT 0, interrupted INTEGER NOT NULL DEFAULT 0, late INTEGER NOT NULL DEFAULT 0, sender  TEXT    NOT NULL DEFAULT '', subject TEXT    NOT NULL DEFAULT '', date    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (box, uid, uidl)
) STRICT, WITHOUT ROWID;
CREATE TABLE job (
    seq        INTEGER PRIMARY KEY,
    connection TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    started    INTEGER NOT NULL, -- Unix seconds
    result     TEXT    NOT NULL  -- JSON
) STRICT;
CREATE TABLE message (
    box     INTEGER NOT NULL REFERENCES box (id) ON DELETE CASCADE,
    uid     INTEGER NOT NULL, -- 0 for POP3
    uidl    TEXT    NOT NULL, -- empty for IMAP
    size    INTEGER NOT NULL, -- as announced
    octets  INTEGER NOT NULL, -- as received
    digest  BLOB    NOT NULL, -- SHA-256
    dir     TEXT    NOT NULL, -- this and the next three only while it is pending
    inode   INTEGER NOT NULL,
    temp    TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    pending INTEGER NOT NULL, -- 1 until its disposition is in force
    seen    INTEGER NOT NULL, shared INTEGER NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT '', -- 1 when SEEN is in force; counts for POP3 alone
    PRIMARY KEY (box, uid, uidl)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE refresh_token (
    grant_id TEXT    PRIMARY KEY, -- a digest of who asks, for whom, for what, and whom
    token    TEXT    NOT NULL,
    seed     TEXT    NOT NULL,    -- digest of the configured token that it came after; '' for none
    stored   INTEGER NOT NULL     -- Unix seconds
) STRICT, WITHOUT ROWID;
CREATE TABLE refused (
    host        TEXT    NOT NULL, -- lower case
    port        INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL, -- of the server's own certificate: SHA-256, hex
    chain       BLOB    NOT NULL, -- DER, one behind the other, the server's own first
    connection  TEXT    NOT NULL, -- that met it last
    reason      TEXT    NOT NULL,
    first       INTEGER NOT NULL, -- Unix seconds
    last        INTEGER NOT NULL,
    times       INTEGER NOT NULL,
    PRIMARY KEY (host, port, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE TABLE store (
    instance TEXT    NOT NULL, -- 8 hex digits, names its temporary files
    jobs     INTEGER NOT NULL  -- how many rows job has, so that nobody counts them
) STRICT;
CREATE TABLE trusted (
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    certificate BLOB    NOT NULL, -- DER
    PRIMARY KEY (host, port, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX box_connection ON box (connection);
CREATE UNIQUE INDEX box_present ON box (connection) WHERE voided IS NULL;
CREATE INDEX box_voided ON box (voided) WHERE voided IS NOT NULL;
CREATE INDEX job_connection ON job (connection, seq);
CREATE INDEX job_started ON job (started);
CREATE INDEX message_digest ON message (box, digest) WHERE pending = 0;
CREATE INDEX message_pending ON message (box, uid, uidl) WHERE pending = 1;
CREATE INDEX notice_connection ON notice (connection, seq);
