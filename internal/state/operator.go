package state

import (
	"context"
	"database/sql"
	"path/filepath"
)

// Forget drops all that is recorded of a connection except its history, and
// returns how many messages that were saved. What is still on the server is
// then new. Temporary files of pending messages are left to the clean-up at
// the next start of the daemon.
func (s *Store) Forget(ctx context.Context, connection string) (messages int, err error) {
	err = s.write(ctx, "forget messages of "+connection, func(tx *sql.Tx) error {
		messages, err = execute(ctx, tx, `DELETE FROM message WHERE box IN (SELECT id FROM box WHERE connection = $1)`, connection)
		if err != nil {
			return err
		}
		for _, statement := range []string{`DELETE FROM box WHERE connection = $1`, `DELETE FROM notice WHERE connection = $1`} {
			if _, err := tx.ExecContext(ctx, statement, connection); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.stale.Delete(connection)
	return messages, nil
}

// Temps are the paths of the temporary files that pending messages are in.
// They are no left-overs: the next poll publishes them.
func (s *Store) Temps(ctx context.Context) ([]string, error) {
	var paths []string
	err := s.read(ctx, "read pending messages", func(tx *sql.Tx) error {
		pending, err := entries(ctx, tx, `temp <> ''`)
		for _, e := range pending {
			paths = append(paths, filepath.Join(e.Dir, e.Temp))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return paths, nil
}
