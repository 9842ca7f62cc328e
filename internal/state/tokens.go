package state

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"mailpoller/internal/mail"
)

// RefreshToken is the refresh token that is kept for a grant, the zero value
// if there is none.
func (s *Store) RefreshToken(ctx context.Context, grant string) (found mail.StoredToken, err error) {
	err = s.read(ctx, "read refresh token", func(tx *sql.Tx) error {
		var token string
		var stored int64
		err := tx.QueryRowContext(ctx, `SELECT token, seed, stored FROM refresh_token WHERE grant_id = $1`, grant).Scan(&token, &found.Seed, &stored)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found.Refresh, found.Time = mail.NewSecret(token), time.Unix(stored, 0)
		return err
	})
	if err != nil {
		return mail.StoredToken{}, err
	}
	return found, nil
}

// KeepRefreshToken keeps a refresh token in place of an older one.
func (s *Store) KeepRefreshToken(ctx context.Context, grant string, t mail.StoredToken) error {
	return s.write(ctx, "keep refresh token", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO refresh_token (grant_id, token, seed, stored) VALUES ($1, $2, $3, $4)
			ON CONFLICT (grant_id) DO UPDATE SET token = excluded.token, seed = excluded.seed, stored = excluded.stored`,
			grant, t.Refresh.Reveal(), t.Seed, t.Time.Unix())
		return err
	})
}
