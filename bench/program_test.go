//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mail"
)

// mode is what a program is to do.
type mode string

const (
	deleteAll mode = "delete" // save all messages and delete them
	check     mode = "check"  // find out that nothing is new
	oldest    mode = "oldest" // save the oldest unread message and leave it
	newest    mode = "newest"
)

// job is what one program is to do in one case, and the directory it does it
// in.
type job struct {
	t        *testing.T
	dir      string // for its configuration and state
	store    mail.StoreType
	port     int
	security mail.Security
	ca       string // PEM file; empty without TLS
	password string
	users    []string
	mode     mode
	trace    string // unless empty, the file that strace writes
	count    string // unless empty, the file that strace counts system calls into
}

// out is the folder of the messages, or the folder of their folders.
func (j *job) out() string { return filepath.Join(j.dir, "out") }

// outOf is the folder of a user's messages.
func (j *job) outOf(user string) string { return filepath.Join(j.out(), user) }

// mkdir makes a directory of the job's.
func (j *job) mkdir(path string) string {
	j.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		j.t.Fatal(err)
	}
	return path
}

// maildir makes a Maildir for the messages of a user.
func (j *job) maildir(user string) string {
	j.t.Helper()
	for _, sub := range []string{"tmp", "new", "cur"} {
		j.mkdir(filepath.Join(j.outOf(user), sub))
	}
	return j.outOf(user)
}

// write writes a file of the job's and returns its path.
func (j *job) write(name, text string) string {
	j.t.Helper()
	path := filepath.Join(j.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		j.t.Fatal(err)
	}
	return path
}

// each joins what a text is for each user.
func (j *job) each(text func(user string) string) string {
	var b strings.Builder
	for _, user := range j.users {
		b.WriteString(text(user))
	}
	return b.String()
}

// traced is the system calls that tell who syncs what before it deletes.
const traced = "fsync,fdatasync,syncfs,sync_file_range,write,writev,sendto,sendmsg"

// program is one of those that are measured. prepare sets it up for a job, so
// that each call of what it returns is a run.
type program struct {
	name     string
	settings string // those that it is given, for the header of the tables
	peer     bool   // not ours: where it fails, its row says so
	can      func(j *job) bool
	prepare  func(j *job) func() cost
}

// command is a prepare that runs a command.
func command(argv func(j *job) []string) func(j *job) func() cost {
	return func(j *job) func() cost {
		args := argv(j)
		if j.count != "" {
			args = append([]string{"strace", "-f", "-c", "-o", j.count}, args...)
		}
		if j.trace != "" {
			args = append([]string{"strace", "-f", "-y", "-qq", "-s", "256", "-e", "trace=" + traced, "-o", j.trace}, args...)
		}
		env := []string{"HOME=" + j.dir, "SSL_CERT_FILE=" + j.ca}
		return func() cost {
			c, _ := execute(j.t, env, args...)
			return c
		}
	}
}

// programs are all of them, in the order of the tables.
func programs() []program {
	return []program{
		theFloor("floor", 1), theFloor("floor, 8 at once", 8), ours(), daemon(),
		mbsync("mbsync", "yes"), mbsync("mbsync, FSync no", "no"), fdm(), mpop(), fetchmail(), getmail(),
	}
}

func theFloor(name string, parallel int) program {
	return program{
		name:     name,
		settings: fmt.Sprintf("bench/floor, accounts at once: %d; in batches of 256 messages or 16 MiB, syncs the file system (below 8 files: each file), renames, syncs the folder", parallel),
		can:      func(j *job) bool { return parallel == 1 || len(j.users) > 1 },
		prepare: command(func(j *job) []string {
			argv := []string{
				floorBinary, "-protocol", strings.ToLower(string(j.store)), "-port", fmt.Sprint(j.port), "-ca", j.ca,
				"-password", j.password, "-mode", string(j.mode), "-folder", j.mkdir(j.out()), "-parallel", fmt.Sprint(parallel),
			}
			if j.mode == check && j.store == mail.POP3 {
				argv = append(argv, "-known", filepath.Join(j.dir, "known"))
			}
			return append(argv, j.users...)
		}),
	}
}

// only reports whether a mode is one of some.
func only(modes ...mode) func(j *job) bool {
	return func(j *job) bool {
		for _, m := range modes {
			if m == j.mode {
				return true
			}
		}
		return false
	}
}
