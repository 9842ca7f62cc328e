package state

import (
	"context"
	"database/sql"
	"time"

	"mailpoller/internal/mail"
)

func faults(ctx context.Context, tx *sql.Tx, box int64) ([]mail.Unsaved, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+faultColumns+` FROM fault WHERE box = $1 ORDER BY uid, uidl`, box)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []mail.Unsaved
	for rows.Next() {
		f, err := scanFault(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, rows.Err()
}

const faultColumns = `uid, uidl, size, too_large, unwanted, interrupted, late, jobs, reason, sender, subject, date`

// scanFault reads the columns of a fault, behind others.
func scanFault(rows *sql.Rows, others ...any) (f mail.Unsaved, err error) {
	var date int64
	err = rows.Scan(append(others, &f.UID, &f.UIDL, &f.Size, &f.Oversized, &f.Unwanted, &f.Interrupted, &f.Late, &f.Jobs, &f.Reason, &f.From, &f.Subject, &date)...)
	if date != 0 {
		f.Date = time.Unix(date, 0).UTC()
	}
	return f, err
}

// SetUnsaved records what is wrong with messages, in place of what was
// recorded of each. A fault of no jobs that is neither too large nor interrupted is
// none.
func (s *Store) SetUnsaved(ctx context.Context, connection string, box mail.Box, faults []mail.Unsaved) error {
	if len(faults) == 0 {
		return nil
	}
	return s.write(ctx, "record faults of "+connection, func(tx *sql.Tx) error {
		r, err := epoch(ctx, tx, connection, box)
		if err != nil {
			return err
		}
		for _, f := range faults {
			if _, err := tx.ExecContext(ctx, `DELETE FROM fault`+oneMessage, r.id, f.UID, f.UIDL); err != nil {
				return err
			}
			if f.Jobs == 0 && !f.Oversized && !f.Unwanted && !f.Interrupted && !f.Late {
				continue
			}
			var date int64
			if !f.Date.IsZero() {
				date = f.Date.Unix()
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO fault (box, `+faultColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
				r.id, f.UID, f.UIDL, f.Size, f.Oversized, f.Unwanted, f.Interrupted, f.Late, f.Jobs, clip(f.Reason), clip(f.From), clip(f.Subject), date); err != nil {
				return err
			}
		}
		return nil
	})
}

// Retry forgets that messages of a connection failed, and returns of how
// many: the next poll tries them again. Those that are too large stay so.
func (s *Store) Retry(ctx context.Context, connection string) (messages int, err error) {
	err = s.write(ctx, "forget faults of "+connection, func(tx *sql.Tx) error {
		const ofConnection = ` AND too_large = 0 AND (jobs > 0 OR late = 1 OR unwanted = 1) AND box IN (SELECT id FROM box WHERE connection = $1)`
		interrupted, err := execute(ctx, tx, `UPDATE fault SET jobs = 0, late = 0 WHERE interrupted = 1`+ofConnection, connection)
		if err != nil {
			return err
		}
		messages, err = execute(ctx, tx, `DELETE FROM fault WHERE interrupted = 0`+ofConnection, connection)
		messages += interrupted
		return err
	})
	if err != nil {
		return 0, err
	}
	return messages, nil
}

// Unsaved are the messages that stay on the server, by connection.
func (s *Store) Unsaved(ctx context.Context) (map[string][]mail.Unsaved, error) {
	all := make(map[string][]mail.Unsaved)
	err := s.read(ctx, "read faults", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT connection, `+faultColumns+`
			FROM fault JOIN box ON box.id = fault.box WHERE voided IS NULL ORDER BY box.id, uid, uidl`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var connection string
			f, err := scanFault(rows, &connection)
			if err != nil {
				return err
			}
			all[connection] = append(all[connection], f)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
