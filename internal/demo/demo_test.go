package demo

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"mailpoller/internal/config"
	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts the demonstration and loads the configuration it writes, which
// is without fault and gives no warning.
func start(t *testing.T, every time.Duration) (*Servers, *config.Config) {
	t.Helper()
	s, err := Start(t.Context(), every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(t.TempDir(), `odd "name": #1`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := s.WriteConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Warnings {
		t.Error(w)
	}
	if want := filepath.Join(dir, "state"); c.StateDir != want {
		t.Errorf("state_dir is %q; want %q", c.StateDir, want)
	}
	return s, c
}

// count asks the server how many messages the account of a connection has,
// reached the way the configuration says.
func count(t *testing.T, c *mail.Connection) int {
	t.Helper()
	if c.Store == mail.POP3 {
		return countPOP3(t, c)
	}
	dial := map[mail.Security]func(string, *imapclient.Options) (*imapclient.Client, error){
		mail.SSLTLS: imapclient.DialTLS, mail.StartTLS: imapclient.DialStartTLS,
	}[c.Security]
	client, err := dial(c.Addr(), &imapclient.Options{TLSConfig: c.TLS.Configs(tlspolicy.Peer{Host: c.Host})[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login(c.Username, c.Password.Literal.Reveal()).Wait(); err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(c.Mailbox, &imap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return int(*status.NumMessages)
}

func countPOP3(t *testing.T, c *mail.Connection) int {
	t.Helper()
	bare, err := net.Dial("tcp", c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.Client(bare, c.TLS.Configs(tlspolicy.Peer{Host: c.Host})[0])
	defer secure.Close()
	say := func(p *textproto.Conn, command string) string {
		if err := p.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		line, err := p.ReadLine()
		if err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("server says %q, %v", line, err)
		}
		return line
	}
	inClear := textproto.NewConn(bare)
	if greeting, err := inClear.ReadLine(); err != nil {
		t.Fatalf("greeting: %q, %v", greeting, err)
	}
	say(inClear, "STLS")
	p := textproto.NewConn(secure)
	say(p, "USER "+c.Username)
	say(p, "PASS "+c.Password.Literal.Reveal())
	var messages int
	if _, err := fmt.Sscanf(say(p, "STAT"), "+OK %d", &messages); err != nil {
		t.Fatal(err)
	}
	return messages
}

// countAll is how many messages there are in all accounts.
func countAll(t *testing.T, c *config.Config) int {
	t.Helper()
	sum := 0
	for i := range c.Connections {
		sum += count(t, &c.Connections[i])
	}
	return sum
}

func TestAllMessagesAreThereAtOnce(t *testing.T) {
	t.Parallel()
	s, c := start(t, 0)
	if n := countAll(t, c); n != s.Total() || n < 12 {
		t.Errorf("there are %d messages; Total is %d", n, s.Total())
	}
}

func TestMessagesArriveOneByOne(t *testing.T) {
	t.Parallel()
	t.Run("until all are there", func(t *testing.T) {
		t.Parallel()
		s, c := start(t, time.Millisecond)
		s.arrivals.Wait()
		if n := countAll(t, c); n != s.Total() {
			t.Errorf("%d messages arrived; Total is %d", n, s.Total())
		}
	})
	t.Run("until the servers are closed", func(t *testing.T) {
		t.Parallel()
		_, c := start(t, time.Hour)
		for i := range c.Connections {
			if n := count(t, &c.Connections[i]); n != 1 {
				t.Errorf("%s begins with %d messages; want 1", c.Connections[i].Name, n)
			}
		}
	})
}

func TestConfigurationIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	_, c := start(t, 0)
	info, err := os.Stat(c.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v; it holds a password", c.Path, info.Mode(), err)
	}
	for i := range c.Connections {
		folder := c.Connections[i].Folder
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
			t.Errorf("%s has %d entries, %v; want an empty folder", folder, len(entries), err)
		}
	}
}

func TestConfigurationNeedsAPlace(t *testing.T) {
	t.Parallel()
	s, _ := start(t, 0)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var path *fs.PathError
	if _, err := s.WriteConfig(file); !errors.As(err, &path) {
		t.Errorf("into a file: %v; want an error that names it", err)
	}
}
