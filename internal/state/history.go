package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// The history is kept within all three bounds.
const (
	jobsPerConnection = 100
	jobsOverall       = 100_000
	jobsFor           = 90 * 24 * time.Hour

	jobsListed = 100  // unless Jobs is asked for another number
	listLength = 1000 // of the files, and of the warnings, of a job
	textLength = 2000 // octets of a reason
)

// storedJob is a job as JSON. The names of the fields are those of
// mail.Result; its error, which JSON cannot hold, gives way to Err.
type storedJob struct {
	mail.Result
	Err *storedError `json:",omitempty"`
}

type storedError struct{ Op, Kind, Message, Hint string }

// RecordJob puts a job that has ended into the history. Of its files and
// warnings the first thousand are kept. Unlike all else here, what was recorded
// last may be gone after a power failure: nothing hangs on it, and a poll does
// not wait for the disk once more.
func (s *Store) RecordJob(ctx context.Context, r mail.Result) error {
	job := storedJob{Result: r}
	job.Started = r.Started.UTC()
	job.Files = r.Files[:min(len(r.Files), listLength)]
	job.Warnings = r.Warnings[:min(len(r.Warnings), listLength)]
	if e := r.Err; e != nil {
		job.Err = &storedError{Op: e.Op, Kind: string(e.Kind), Message: clip(e.Err.Error()), Hint: e.Hint}
	}
	what := fmt.Sprintf("record job %s of %s", r.Job, r.Connection)
	result, err := json.Marshal(job)
	if err != nil {
		return s.named(ctx, what, err)
	}
	return s.named(ctx, what, s.transact(ctx, s.db.history, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO job (connection, state, started, result) VALUES ($1, $2, $3, $4)`,
			r.Connection, string(r.State), r.Started.Unix(), string(result))
		if err != nil {
			return err
		}
		return prune(ctx, tx, r.Connection)
	}))
}

// prune holds the history within its bounds, now that connection has one job
// more. Each statement reads little more than it deletes.
func prune(ctx context.Context, tx *sql.Tx, connection string) error {
	var jobs int
	if err := tx.QueryRowContext(ctx, `SELECT jobs + 1 FROM store`).Scan(&jobs); err != nil {
		return err
	}
	for _, old := range []struct {
		condition string
		args      []any
	}{
		{`started < $1`, []any{time.Now().Add(-jobsFor).Unix()}},
		{`connection = $1 AND seq <= (SELECT seq FROM job WHERE connection = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)`, []any{connection, jobsPerConnection}},
	} {
		deleted, err := execute(ctx, tx, `DELETE FROM job WHERE `+old.condition, old.args...)
		if err != nil {
			return err
		}
		jobs -= deleted
	}
	if jobs > jobsOverall {
		deleted, err := execute(ctx, tx, `DELETE FROM job WHERE seq IN (SELECT seq FROM job ORDER BY seq LIMIT $1)`, jobs-jobsOverall)
		if err != nil {
			return err
		}
		jobs -= deleted
	}
	_, err := tx.ExecContext(ctx, `UPDATE store SET jobs = $1`, jobs)
	return err
}

// JobFilter chooses from the history.
type JobFilter struct {
	Connection string     // empty means all
	State      mail.State // empty means all
	ID         string     // how the id of a job begins; empty means all
	Limit      int        // at most this many; 0 means 100
}

// Jobs is the history, what was recorded last first. Times are UTC.
func (s *Store) Jobs(ctx context.Context, filter JobFilter) ([]mail.Result, error) {
	query, args := `SELECT result FROM job WHERE 0 = 0`, []any{}
	if filter.Connection != "" {
		args = append(args, filter.Connection)
		query += fmt.Sprintf(` AND connection = $%d`, len(args))
	}
	if filter.State != "" {
		args = append(args, string(filter.State))
		query += fmt.Sprintf(` AND state = $%d`, len(args))
	}
	if filter.ID != "" {
		args = append(args, filter.ID)
		query += fmt.Sprintf(` AND substr(json_extract(result, '$.Job'), 1, length($%d)) = $%[1]d`, len(args))
	}
	if filter.Limit <= 0 {
		filter.Limit = jobsListed
	}
	args = append(args, filter.Limit)
	query += fmt.Sprintf(` ORDER BY seq DESC LIMIT $%d`, len(args)) //nolint:gosec // G202: texts and numbers of ours alone

	var jobs []mail.Result
	err := s.read(ctx, "read job history", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var result string
			if err := rows.Scan(&result); err != nil {
				return err
			}
			var job storedJob
			if err := json.Unmarshal([]byte(result), &job); err != nil {
				return err
			}
			if e := job.Err; e != nil {
				job.Result.Err = &mail.Error{Op: e.Op, Kind: mail.Kind(e.Kind), Err: errors.New(e.Message), Hint: e.Hint}
			}
			jobs = append(jobs, job.Result)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

// execute runs a statement and returns how many rows it changed.
func execute(ctx context.Context, tx *sql.Tx, statement string, args ...any) (int, error) {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// clip bounds a text that a server may have a hand in.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), textLength)], "\uFFFD")
}
