package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mailpoller/internal/mail"
)

// Void makes what is recorded of the present box of the connection void.
func (s *Store) Void(ctx context.Context, connection string) error {
	return s.write(ctx, "void journal of "+connection, func(tx *sql.Tx) error {
		return void(ctx, tx, connection)
	})
}

// void ends the present box: what failed in it is forgotten, what was saved
// out of it is remembered by its digest.
func void(ctx context.Context, tx *sql.Tx, connection string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM fault WHERE box IN (SELECT id FROM box WHERE connection = $1)`, connection)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM box WHERE connection = $1 AND voided IS NULL
		AND NOT EXISTS (SELECT 1 FROM message WHERE message.box = box.id)`, connection)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE box SET voided = $2, saved = '', seen = '' WHERE connection = $1 AND voided IS NULL`,
		connection, time.Now().Unix())
	return err
}

// expire drops the boxes that have been void for long enough, except those
// with messages that are still to be published.
func expire(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM box WHERE voided < $1
		AND NOT EXISTS (SELECT 1 FROM message WHERE message.box = box.id AND pending = 1)`, time.Now().Add(-remembered).Unix())
	if err != nil {
		return err
	}
	// Of connections that have no command any more, or are gone.
	_, err = tx.ExecContext(ctx, `DELETE FROM notice WHERE saved < $1`, time.Now().Add(-2*remembered).Unix())
	return err
}

// useUp drops one record of a delivered message with this digest out of a
// void box, and the box with its last one. A pending one does not count: its
// file is still to be published.
func useUp(ctx context.Context, tx *sql.Tx, connection string, d mail.Digest) error {
	var box int64
	err := tx.QueryRowContext(ctx, `DELETE FROM message WHERE (box, uid, uidl) IN (
			SELECT message.box, uid, uidl FROM message JOIN box ON box.id = message.box
			WHERE connection = $1 AND voided IS NOT NULL AND digest = $2 AND pending = 0 LIMIT 1)
		RETURNING box`, connection, d[:]).Scan(&box)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("no delivered message with the digest %x is on record any more", d)
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM box WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM message WHERE message.box = $1)`, box)
	return err
}

const recognise = `SELECT EXISTS (SELECT 1 FROM message JOIN box ON box.id = message.box
	WHERE connection = $1 AND (voided IS NOT NULL OR box.id = $2) AND digest = $3 AND pending = 0)`

// Recognise reports whether a message with this digest was delivered out of a
// box of the connection that is void by now. Which box is present, Load says:
// it must have been called for it.
func (s *Store) Recognise(ctx context.Context, connection string, d mail.Digest) (known bool, err error) {
	stale, ok := s.stale.Load(connection)
	if !ok {
		stale = int64(0)
	}
	err = s.read(ctx, "look up message of "+connection, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, recognise, connection, stale, d[:]).Scan(&known)
	})
	return known, err
}
