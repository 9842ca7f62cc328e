package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// remembered is how long messages of a void box are recognised by their
// digest.
const remembered = 30 * 24 * time.Hour

// record is a row of box.
type record struct {
	id          int64 // 0: there is none
	box         mail.Box
	saved, seen mail.UIDSet
}

// Load is what is recorded of the box. It never writes. While another box is
// recorded as the present one of the connection, that one is void: the next
// write for this box makes it so, and Recognise knows it already.
//
// The cost does not grow with what was saved by IMAP, only with the ranges it
// forms, with what is pending, and with faults; with POP3 it does.
func (s *Store) Load(ctx context.Context, connection string, box mail.Box) (mail.Ledger, error) {
	var l mail.Ledger
	var stale int64
	err := s.read(ctx, "load journal of "+connection, func(tx *sql.Tx) error {
		r, err := present(ctx, tx, connection)
		if err != nil {
			return err
		}
		if r.box != box {
			stale, r = r.id, record{}
		}
		if r.id != 0 {
			if err := r.load(ctx, tx, &l); err != nil {
				return err
			}
		}
		if l.Orphans, err = entries(ctx, tx, `box IN (SELECT id FROM box WHERE connection = $1 AND id <> $2)`, connection, r.id); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM message JOIN box ON box.id = message.box
			WHERE connection = $1 AND box.id <> $2 AND pending = 0)`, connection, r.id).Scan(&l.Rebuilt)
	})
	if err != nil {
		return mail.Ledger{}, err
	}
	if stale != 0 {
		s.stale.Store(connection, stale)
	} else {
		s.stale.Delete(connection)
	}
	return l, nil
}

// present is the box recorded as the present one of a connection.
func present(ctx context.Context, tx *sql.Tx, connection string) (record, error) {
	var r record
	var saved, seen string
	err := tx.QueryRowContext(ctx, `SELECT id, account, validity, saved, seen FROM box WHERE connection = $1 AND voided IS NULL`, connection).
		Scan(&r.id, &r.box.Account, &r.box.Validity, &saved, &seen)
	if errors.Is(err, sql.ErrNoRows) {
		return record{}, nil
	}
	if err == nil {
		r.saved, err = mail.ParseUIDSet(saved)
	}
	if err == nil {
		r.seen, err = mail.ParseUIDSet(seen)
	}
	if err != nil {
		return record{}, fmt.Errorf("read mailbox of %s: %w", connection, err)
	}
	return r, nil
}

// load reads what belongs to the box.
func (r *record) load(ctx context.Context, tx *sql.Tx, l *mail.Ledger) error {
	l.Saved.UIDs, l.Seen.UIDs = r.saved, r.seen
	// Each in one piece: to fetch a row takes longer than to read it.
	var count int
	var saved, seen sql.NullString
	err := tx.QueryRowContext(ctx, `SELECT count(*), `+joined("uidl")+`, `+joined("CASE WHEN seen = 1 THEN uidl END")+`
		FROM message WHERE box = $1 AND uid = 0`, r.id).Scan(&count, &saved, &seen)
	if err != nil {
		return err
	}
	l.Saved.UIDLs = ids(saved, count)
	l.Seen.UIDLs = ids(seen, 0)
	if l.Pending, err = entries(ctx, tx, `box = $1`, r.id); err != nil {
		return err
	}
	l.Unsaved, err = faults(ctx, tx, r.id)
	return err
}

// ids are the lines of a joined column, about count of them.
func ids(lines sql.NullString, count int) map[string]struct{} {
	if !lines.Valid {
		return nil
	}
	all := make(map[string]struct{}, count)
	for id := range strings.SplitSeq(lines.String, "\n") {
		all[id] = struct{}{}
	}
	return all
}

// entries are the pending messages of the boxes that the condition names.
func entries(ctx context.Context, tx *sql.Tx, condition string, args ...any) ([]mail.Entry, error) {
	//nolint:gosec // G202: the condition is a text of ours
	rows, err := tx.QueryContext(ctx, `SELECT uid, uidl, size, octets, digest, dir, inode, temp, name, shared, stage
		FROM message WHERE pending = 1 AND `+condition+` ORDER BY box, uid, uidl`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []mail.Entry
	for rows.Next() {
		var e mail.Entry
		var digest []byte
		var inode int64 // the same bits: a database has no unsigned integers
		if err := rows.Scan(&e.UID, &e.UIDL, &e.Size, &e.Octets, &digest, &e.Dir, &inode, &e.Temp, &e.Name, &e.Shared, &e.Stage); err != nil {
			return nil, err
		}
		e.Inode = uint64(inode) //nolint:gosec // G115: as it was put in
		copy(e.Digest[:], digest)
		all = append(all, e)
	}
	return all, rows.Err()
}

// epoch is the row of box. If another box was the present one, or none, what
// is recorded of that one is void from here on.
func epoch(ctx context.Context, tx *sql.Tx, connection string, box mail.Box) (record, error) {
	r, err := present(ctx, tx, connection)
	if err != nil || r.id != 0 && r.box == box {
		return r, err
	}
	if err := void(ctx, tx, connection); err != nil {
		return record{}, err
	}
	r = record{box: box}
	err = tx.QueryRowContext(ctx, `INSERT INTO box (connection, account, validity, saved, seen) VALUES ($1, $2, $3, '', '') RETURNING id`,
		connection, box.Account, box.Validity).Scan(&r.id)
	return r, err
}

// keepSets writes the sets of the box back, if they have changed.
func (r *record) keepSets(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE box SET saved = $2, seen = $3 WHERE id = $1 AND (saved <> $2 OR seen <> $3)`, r.id, r.saved.String(), r.seen.String())
	return err
}

// forEach completes a statement with the condition that a message is one of
// refs, of this box, and runs it: for UIDs once for each range.
func (r *record) forEach(ctx context.Context, tx *sql.Tx, refs []mail.Ref, statement string) error {
	var uids mail.UIDSet
	var named [][]any
	for _, ref := range refs {
		if ref.UID != 0 {
			uids.Add(ref.UID, ref.UID)
		} else {
			named = append(named, []any{r.id, 0, ref.UIDL})
		}
	}
	ranges := make([][]any, len(uids))
	for i, u := range uids {
		ranges[i] = []any{r.id, u.Lo, u.Hi}
	}
	if err := repeat(ctx, tx, statement+` WHERE box = $1 AND uid BETWEEN $2 AND $3`, ranges); err != nil {
		return err
	}
	return repeat(ctx, tx, statement+oneMessage, named)
}

// repeat runs a statement once with each of the arguments.
func repeat(ctx context.Context, tx *sql.Tx, statement string, arguments [][]any) error {
	if len(arguments) == 0 {
		return nil
	}
	prepared, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for _, a := range arguments {
		if _, err := prepared.ExecContext(ctx, a...); err != nil {
			return err
		}
	}
	return nil
}

const oneMessage = ` WHERE box = $1 AND uid = $2 AND uidl = $3`

// Save records messages as saved and pending, all or none, and forgets what
// was wrong with them. One that is recorded already is replaced, so a Save
// may be repeated. An entry without Temp was delivered out of a box that is
// void: it uses up one record with its digest, so that of two messages that
// are alike but one is taken for it. Save fails if there is none left.
func (s *Store) Save(ctx context.Context, connection string, box mail.Box, entries []mail.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.write(ctx, "save messages of "+connection, func(tx *sql.Tx) error {
		r, err := epoch(ctx, tx, connection, box)
		if err != nil {
			return err
		}
		insert, err := tx.PrepareContext(ctx, `INSERT INTO message (box, uid, uidl, size, octets, digest, dir, inode, temp, name, shared, pending, seen, stage)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, 0, '')
			ON CONFLICT (box, uid, uidl) DO UPDATE SET size = excluded.size, octets = excluded.octets, digest = excluded.digest,
			dir = excluded.dir, inode = excluded.inode, temp = excluded.temp, name = excluded.name, shared = excluded.shared, pending = 1, seen = 0, stage = ''`)
		if err != nil {
			return err
		}
		defer insert.Close()
		refs := make([]mail.Ref, len(entries))
		for i, e := range entries {
			refs[i] = e.Ref
			if err := r.save(ctx, tx, insert, connection, e); err != nil {
				return fmt.Errorf("message %s: %w", e.ID(), err)
			}
		}
		if err := r.forEach(ctx, tx, refs, `DELETE FROM fault`); err != nil {
			return err
		}
		if err := r.keepSets(ctx, tx); err != nil {
			return err
		}
		return expire(ctx, tx)
	})
}

func (r *record) save(ctx context.Context, tx *sql.Tx, insert *sql.Stmt, connection string, e mail.Entry) (err error) {
	if e.Temp == "" {
		var again bool // recorded before as what it is now: a message that was recognised
		err := tx.QueryRowContext(ctx, `SELECT temp = '' AND digest = $4 FROM message`+oneMessage, r.id, e.UID, e.UIDL, e.Digest[:]).Scan(&again)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if !again {
			if err := useUp(ctx, tx, connection, e.Digest); err != nil {
				return err
			}
		}
	}
	if e.UID != 0 {
		r.saved.Add(e.UID, e.UID)
		r.seen.Remove(e.UID)
	}
	_, err = insert.ExecContext(ctx,
		r.id, e.UID, e.UIDL, e.Size, e.Octets, e.Digest[:], e.Dir, int64(e.Inode), e.Temp, e.Name, e.Shared) //nolint:gosec // G115: the same bits; see entries
	if err == nil && e.Facts != nil {
		err = addNotice(ctx, tx, connection, e)
	}
	return err
}

// visible is what a message turns into once its file is visible: what is on
// record of the file has done its duty. With published, its disposition is in
// force, too.
const (
	visible   = `UPDATE message SET dir = '', inode = 0, temp = '', name = '', shared = 0`
	published = visible + `, stage = '', pending = 0`
)

// Ask records that messages are visible, and how far their disposition has come.
// They stay pending, and saved, until Dispose. A message that was copied stays so.
func (s *Store) Ask(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, stage mail.Stage) error {
	if len(refs) == 0 {
		return nil
	}
	statement, ok := map[mail.Stage]string{
		mail.Asked:  visible + `, pending = 1, stage = CASE stage WHEN 'COPIED' THEN stage ELSE 'ASKED' END`,
		mail.Copied: visible + `, pending = 1, stage = 'COPIED'`,
	}[stage]
	what := "record what the server was asked for messages of " + connection
	if !ok {
		return mail.Errorf(mail.OpRecord, mail.KindInternal, "%s: no such stage: %q", what, stage)
	}
	return s.write(ctx, what, func(tx *sql.Tx) error {
		r, err := present(ctx, tx, connection)
		if err != nil || r.box != box {
			return err
		}
		return r.forEach(ctx, tx, refs, statement)
	})
}

// Dispose records that d is in force for messages that are published. One
// that was deleted or moved is forgotten. Messages that are not on record are passed
// over.
func (s *Store) Dispose(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, d disposition.Disposition) error {
	if len(refs) == 0 {
		return nil
	}
	statement, ok := map[disposition.Disposition]string{
		disposition.Delete: `DELETE FROM message`,
		disposition.Move:   `DELETE FROM message`,
		disposition.Keep:   published,
		disposition.Seen:   published + `, seen = 1`,
	}[d]
	what := fmt.Sprintf("record %s for messages of %s", d, connection)
	if !ok {
		return mail.Errorf(mail.OpRecord, mail.KindInternal, "%s: no such disposition", what)
	}
	return s.write(ctx, what, func(tx *sql.Tx) error {
		r, err := present(ctx, tx, connection)
		if err != nil || r.box != box {
			return err
		}
		if err := r.forEach(ctx, tx, refs, statement); err != nil {
			return err
		}
		for _, ref := range refs {
			switch {
			case d.Removes():
				r.saved.Remove(ref.UID)
				r.seen.Remove(ref.UID)
			case d == disposition.Seen && r.saved.Contains(ref.UID):
				r.seen.Add(ref.UID, ref.UID)
			}
		}
		return r.keepSets(ctx, tx)
	})
}

// onePending finds an entry of Load again, in whichever box it is. Where two
// boxes have a message of one name, Temp tells them apart.
const onePending = ` WHERE box IN (SELECT id FROM box WHERE connection = $1)
	AND uid = $2 AND uidl = $3 AND temp = $4 AND digest = $5 AND pending = 1`

// Settle records that orphans are published. They are recognised by their
// digest from here on.
func (s *Store) Settle(ctx context.Context, connection string, orphans []mail.Entry) error {
	if len(orphans) == 0 {
		return nil
	}
	return s.write(ctx, "settle messages of "+connection, func(tx *sql.Tx) error {
		for _, e := range orphans {
			if _, err := tx.ExecContext(ctx, published+onePending, connection, e.UID, e.UIDL, e.Temp, e.Digest[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Discard forgets pending entries: they were not delivered after all.
func (s *Store) Discard(ctx context.Context, connection string, entries []mail.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.write(ctx, "discard messages of "+connection, func(tx *sql.Tx) error {
		r, err := present(ctx, tx, connection)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var box int64
			err := tx.QueryRowContext(ctx, `DELETE FROM message`+onePending+` RETURNING box`,
				connection, e.UID, e.UIDL, e.Temp, e.Digest[:]).Scan(&box)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM notice WHERE temp = $1`, e.Temp); err != nil {
				return err
			}
			if err == nil && box == r.id {
				r.saved.Remove(e.UID)
				r.seen.Remove(e.UID)
			}
		}
		return r.keepSets(ctx, tx)
	})
}

// Keep drops what is recorded of messages that the server does not hold,
// except of those that are pending: their files may still have to be
// published.
func (s *Store) Keep(ctx context.Context, connection string, box mail.Box, held mail.Set) error {
	return s.write(ctx, "prune journal of "+connection, func(tx *sql.Tx) error {
		r, err := present(ctx, tx, connection)
		if err != nil || r.id == 0 || r.box != box {
			return err
		}
		if err := r.dropRanges(ctx, tx, r.saved.Minus(held.UIDs)); err != nil {
			return err
		}
		if err := r.drop(ctx, tx, held, `message`, `uid = 0 AND pending = 0`); err != nil {
			return err
		}
		if err := r.drop(ctx, tx, held, `fault`, `0 = 0`); err != nil {
			return err
		}
		pending, err := entries(ctx, tx, `box = $1 AND uid > 0`, r.id)
		if err != nil {
			return err
		}
		r.saved = r.saved.And(held.UIDs)
		for _, e := range pending {
			r.saved.Add(e.UID, e.UID)
		}
		r.seen = r.seen.And(r.saved)
		return r.keepSets(ctx, tx)
	})
}

// dropRanges deletes the messages with these UIDs, without a look at the rest.
func (r *record) dropRanges(ctx context.Context, tx *sql.Tx, gone mail.UIDSet) error {
	ranges := make([][]any, len(gone))
	for i, uids := range gone {
		ranges[i] = []any{r.id, uids.Lo, uids.Hi}
	}
	return repeat(ctx, tx, `DELETE FROM message WHERE box = $1 AND uid BETWEEN $2 AND $3 AND pending = 0`, ranges)
}

// drop deletes those rows of the box for messages that are not held.
func (r *record) drop(ctx context.Context, tx *sql.Tx, held mail.Set, table, which string) error {
	found, err := tx.QueryContext(ctx, `SELECT uid, uidl FROM `+table+` WHERE box = $1 AND `+which, r.id) //nolint:gosec // G202: a text of ours
	if err != nil {
		return err
	}
	defer found.Close()
	var gone []mail.Ref
	for found.Next() {
		var ref mail.Ref
		if err := found.Scan(&ref.UID, &ref.UIDL); err != nil {
			return err
		}
		if !held.Has(ref) {
			gone = append(gone, ref)
		}
	}
	if err := found.Err(); err != nil {
		return err
	}
	return r.forEach(ctx, tx, gone, `DELETE FROM `+table)
}
