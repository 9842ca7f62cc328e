package app

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"mailpoller/internal/mail"
	"mailpoller/internal/notify"
)

// told is what a command reads on its standard input; docs/notify.md describes
// it.
type told struct {
	Path    string          `json:"path"`  // of the message, or of its directory
	Files   []string        `json:"files"` // the paths of what is to be read
	Message json.RawMessage `json:"message"`
}

// tell runs the command of a connection for a message.
func tell(ctx context.Context, c *mail.Connection, n mail.Notice) error {
	var message struct {
		Files []struct {
			Name string `json:"name"`
		} `json:"files"`
	}
	if err := json.Unmarshal(n.Facts, &message); err != nil {
		return fmt.Errorf("what is known of the message: %w", err)
	}
	t := told{Path: filepath.Join(n.Dir, n.Name), Message: n.Facts}
	for _, f := range message.Files {
		t.Files = append(t.Files, filepath.Join(t.Path, f.Name))
	}
	if t.Files == nil { // it is one file
		t.Files = []string{t.Path}
	}
	input, err := json.Marshal(t)
	if err != nil {
		return err
	}
	command := notify.Command{Argv: c.Notify.Command, Timeout: c.Notify.Timeout, Environment: []string{"POLLER_CONNECTION=" + c.Name}}
	return command.Run(ctx, input, t.Files...)
}
