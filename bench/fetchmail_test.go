//go:build bench

package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// fetchmail leaves the saving to somebody else. A command for each message
// costs a process; the fastest that it knows is LMTP over a Unix socket.
func fetchmail() program {
	return program{
		name:     "fetchmail",
		settings: "LMTP to a sink that writes files and syncs nothing (its CPU is not counted), norewrite, no limits to its batches",
		peer:     true,
		can: func(j *job) bool {
			return j.mode == deleteAll || j.mode == oldest || j.mode == check && j.store == mail.IMAP
		},
		prepare: func(j *job) func() cost {
			sink := newSink(j.t, j.mkdir(j.out()))
			security := "sslproto ''" // else it tries STARTTLS
			if j.ca != "" {
				security = "ssl no sslcertck" // it knows a server by the CN of its certificate alone, and ours has none
			}
			what := "fetchall no keep"
			switch j.mode {
			case check:
				what = "keep"
			case oldest:
				what = "keep fetchlimit 1"
			}
			text := "set no bouncemail\nset no syslog\nset invisible\n"
			text += fmt.Sprintf("poll %s with proto %s port %d no dns\n", mailtest.Host, j.store, j.port)
			text += j.each(func(user string) string {
				return fmt.Sprintf(" user %q password %q is %[1]q here %[3]s %s norewrite no mimedecode fetchsizelimit 0 batchlimit 0 expunge 0 antispam -1 lmtp smtphost %q\n",
					user, j.password, security, what, sink)
			})
			return command(func(j *job) []string {
				return []string{"fetchmail", "--silent", "--nodetach", "-d", "0", "-f", j.write("fetchmailrc", text), "--idfile", filepath.Join(j.dir, "ids"), "--pidfile", filepath.Join(j.dir, "pid")}
			})(j)
		},
	}
}

// newSink runs an LMTP server (RFC 2033) that puts what it is given into files
// of a folder, until the test ends. It returns its socket.
func newSink(t *testing.T, folder string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lmtp") //nolint:usetesting // the path of a Unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{folder: folder}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				if err := s.serve(c); err != nil {
					t.Errorf("LMTP: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait(); _ = os.RemoveAll(dir) })
	return socket
}

type sink struct {
	folder string
	mu     sync.Mutex
	count  int
}

func (s *sink) serve(c net.Conn) error {
	r := bufio.NewReaderSize(c, 64<<10)
	reply := "220 sink LMTP"
	for {
		if _, err := fmt.Fprintf(c, "%s\r\n", reply); err != nil {
			return nil //nolint:nilerr // the client has left
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		switch word := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(word, "LHLO"):
			reply = "250-sink\r\n250-8BITMIME\r\n250 SIZE"
		case word == "DATA":
			if _, err := fmt.Fprint(c, "354 go on\r\n"); err != nil {
				return err
			}
			if err := s.save(r); err != nil {
				return err
			}
			reply = "250 saved"
		default:
			reply = "250 fine"
		}
	}
}

// save writes a message to a file, without the dots that were added.
func (s *sink) save(r *bufio.Reader) error {
	s.mu.Lock()
	s.count++
	path := filepath.Join(s.folder, fmt.Sprint(s.count))
	s.mu.Unlock()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line[0] == '.' {
			if len(line) == len(".\r\n") {
				return errors.Join(out.Flush(), f.Close())
			}
			line = line[1:]
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
}
