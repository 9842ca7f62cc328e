package state

import (
	"context"
	"database/sql"
	"time"

	"mailpoller/internal/mail"
)

// addNotice records that a command is to be run for an entry. An entry that is
// saved again has one notice.
func addNotice(ctx context.Context, tx *sql.Tx, connection string, e mail.Entry) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO notice (connection, dir, temp, name, facts, saved, tries) VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (temp) DO UPDATE SET name = excluded.name, facts = excluded.facts`,
		connection, e.Dir, e.Temp, e.Name, string(e.Facts), time.Now().Unix())
	return err
}

// Renamed records that a pending entry will get another name: it is what a
// publication that is tried again begins with, and what a command hears of.
func (s *Store) Renamed(ctx context.Context, connection string, e mail.Entry) error {
	return s.write(ctx, "record name of a message of "+connection, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE message SET name = $3
			WHERE pending = 1 AND temp = $2 AND box IN (SELECT id FROM box WHERE connection = $1)`, connection, e.Temp, e.Name)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE notice SET name = $2 WHERE temp = $1`, e.Temp, e.Name)
		return err
	})
}

// Notices are the commands that have still to be run for messages of a
// connection, at most so many, in the order of the messages.
func (s *Store) Notices(ctx context.Context, connection string, most int) ([]mail.Notice, error) {
	var all []mail.Notice
	err := s.read(ctx, "read notices of "+connection, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT seq, dir, temp, name, facts, saved, tries,
			temp IN (SELECT temp FROM message WHERE pending = 1 AND box IN (SELECT id FROM box WHERE connection = $1))
			FROM notice WHERE connection = $1 ORDER BY seq LIMIT $2`, connection, most)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n mail.Notice
			var saved int64
			if err := rows.Scan(&n.ID, &n.Dir, &n.Temp, &n.Name, &n.Facts, &saved, &n.Tries, &n.Pending); err != nil {
				return err
			}
			n.Saved = time.Unix(saved, 0)
			all = append(all, n)
		}
		return rows.Err()
	})
	return all, err
}

// Noticed forgets notices: their commands did their work, or are given up.
func (s *Store) Noticed(ctx context.Context, connection string, ids ...int64) error {
	return s.write(ctx, "record notices of "+connection, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `DELETE FROM notice WHERE seq = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// NoticeFailed counts a command that failed.
func (s *Store) NoticeFailed(ctx context.Context, connection string, id int64) error {
	return s.write(ctx, "record failed notice of "+connection, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE notice SET tries = tries + 1 WHERE seq = $1`, id)
		return err
	})
}

// Hooks is how the hooks stand that are due, by connection: of one, or where it
// is empty of all.
func (s *Store) Hooks(ctx context.Context, connection string) (map[string]mail.Hooks, error) {
	query, args := `SELECT connection, count(*), (SELECT saved FROM notice AS failed
		WHERE failed.connection = notice.connection AND tries > 0 ORDER BY seq LIMIT 1) FROM notice`, []any{}
	if connection != "" {
		query, args = query+` WHERE connection = $1`, append(args, connection)
	}
	all := make(map[string]mail.Hooks)
	err := s.read(ctx, "read hooks that are due", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query+` GROUP BY connection`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var h mail.Hooks
			var saved sql.NullInt64
			if err := rows.Scan(&name, &h.Due, &saved); err != nil {
				return err
			}
			if saved.Valid {
				h.Since = time.Unix(saved.Int64, 0)
			}
			all[name] = h
		}
		return rows.Err()
	})
	return all, err
}
