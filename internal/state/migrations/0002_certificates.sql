-- A chain that a server presented and that was not trusted.
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

-- A certificate that an operator trusts for one server.
CREATE TABLE trusted (
    host        TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    certificate BLOB    NOT NULL, -- DER
    PRIMARY KEY (host, port, fingerprint)
) STRICT, WITHOUT ROWID;
