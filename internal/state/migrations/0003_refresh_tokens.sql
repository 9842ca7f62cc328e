-- A refresh token of OAuth 2.0: one that a login got, or that came in place of
-- an older one, which may be worth nothing any more.
CREATE TABLE refresh_token (
    grant_id TEXT    PRIMARY KEY, -- a digest of who asks, for whom, for what, and whom
    token    TEXT    NOT NULL,
    seed     TEXT    NOT NULL,    -- digest of the configured token that it came after; '' for none
    stored   INTEGER NOT NULL     -- Unix seconds
) STRICT, WITHOUT ROWID;
