package state

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
)

func TestARefreshTokenSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if none, err := s.RefreshToken(t.Context(), "a"); err != nil || !none.Refresh.IsZero() {
		t.Errorf("before there is one: %v, %v", none, err)
	}
	at := time.Unix(1_800_000_000, 0)
	for _, token := range []string{"first", "second"} {
		if err := s.KeepRefreshToken(t.Context(), "a", mail.StoredToken{Refresh: mail.NewSecret(token), Seed: "seed", Time: at}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := mail.StoredToken{Refresh: mail.NewSecret("second"), Seed: "seed", Time: at}
	if found, err := s.RefreshToken(t.Context(), "a"); err != nil || found != want {
		t.Errorf("after a restart %+v, %v; want %+v", found, err, want)
	}
	if other, err := s.RefreshToken(t.Context(), "b"); err != nil || !other.Refresh.IsZero() {
		t.Errorf("another grant has %v, %v", other, err)
	}
}

// TestTheDatabaseIsReadByItsOwnerAlone: it holds refresh tokens.
func TestTheDatabaseIsReadByItsOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.KeepRefreshToken(t.Context(), "a", mail.StoredToken{Refresh: mail.NewSecret("token"), Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(entry.Name(), databaseName) {
			return err
		}
		files++
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", entry.Name(), info.Mode())
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("looked at %d files: %v; want the database and its log", files, err)
	}
}
