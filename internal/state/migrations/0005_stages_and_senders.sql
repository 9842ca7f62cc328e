-- How far the disposition of a pending message has come: '' where the server may
-- not have been asked, ASKED where it said OK and was not seen to have done it,
-- COPIED where it has only to remove what it copied. With the last two the message
-- is visible, and nothing is on record of its file.
ALTER TABLE message ADD COLUMN stage TEXT NOT NULL DEFAULT '';

-- 1 where it has no attachments, and only such messages are wanted.
ALTER TABLE fault ADD COLUMN unwanted INTEGER NOT NULL DEFAULT 0;
-- 1 where nothing is wrong with the message: a session ended while it was fetched.
ALTER TABLE fault ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
-- 1 where it took longer than an attempt may: it is tried behind all others.
ALTER TABLE fault ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
-- What its header says, decoded.
ALTER TABLE fault ADD COLUMN sender  TEXT    NOT NULL DEFAULT '';
ALTER TABLE fault ADD COLUMN subject TEXT    NOT NULL DEFAULT '';
ALTER TABLE fault ADD COLUMN date    INTEGER NOT NULL DEFAULT 0; -- Unix seconds; 0 where there is none

-- Until now a server that refused everything counted against each message. So all
-- are tried again; what is wrong with a message itself will show.
UPDATE fault SET unwanted = 1, jobs = 0 WHERE reason = 'message has no attachments';
DELETE FROM fault WHERE too_large = 0 AND unwanted = 0;
