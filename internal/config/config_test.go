package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/tlspolicy"
)

var update = flag.Bool("update", false, "write what is found into the golden files")

// golden compares got with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// write writes a configuration that nobody else can read.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "poller.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Load(write(t, text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

func show(t testing.TB, c *Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Show(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The end-to-end suite has the real program check the same files.
func TestEveryFaultIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	const dir = "testdata/bad/"
	files, err := filepath.Glob(dir + "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			c, err := Load(file)
			if err == nil {
				t.Fatalf("loaded as %+v", c)
			}
			got := strings.ReplaceAll(err.Error(), dir, "") + "\n"
			for _, secret := range []string{"hunter2", "aHVudGVyMg"} {
				if strings.Contains(got, secret) {
					t.Errorf("the secret is in %s", got)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

func TestEverySettingIsReadAndShown(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := show(t, c)
	golden(t, "testdata/good/everything.golden", text)

	again := load(t, text)
	if diff := cmp.Diff(text, show(t, again)); diff != "" {
		t.Errorf("what was shown reads differently (-first +second):\n%s", diff)
	}
	for i := range c.Connections {
		was, is := &c.Connections[i], &again.Connections[i]
		if same := was.Fingerprint == is.Fingerprint; same != was.Password.Literal.IsZero() {
			t.Errorf("%s: fingerprints %s and %s", was.Name, was.Fingerprint, is.Fingerprint)
		}
	}
}

func TestAPasswordIsTakenAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ yaml, secret string }{
		{"hunter2", "hunter2"},
		{"0123", "0123"},
		{"1e3", "1e3"},
		{"yes", "yes"},
		{"2026-01-01", "2026-01-01"},
		{"0x1F", "0x1F"},
		{"<<", "<<"},
		{`" a "`, " a "},
		{`"*"`, "*"},
		{"a#b", "a#b"},
		{`"\u00e9"`, "é"},
		{`""`, ""},
	} {
		got := load(t, minimal+"    password: "+c.yaml+"\n").Connections[0].Password
		if got.Literal.Reveal() != c.secret {
			t.Errorf("%s is read as %q", c.yaml, got.Literal.Reveal())
		}
	}
}

// minimal is a connection with nothing but what is required, and to which
// further lines can be added.
const minimal = `
connections:
  - name: a
    host: a.example
    port: 993
    folder: /srv/a
`

func TestHosts(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"imap.example.com":  "imap.example.com",
		"imap.example.com.": "imap.example.com.",
		"localhost":         "localhost",
		"mail_server":       "mail_server",
		"bücher.example":    "xn--bcher-kva.example",
		"3com.example":      "3com.example",
		"192.0.2.1":         "192.0.2.1",
		"::1":               "::1",
		"[::1]":             "::1",
		"fe80::1%eth0":      "fe80::1%eth0",
	} {
		c := load(t, fmt.Sprintf("connections: [{name: a, host: %q, port: 993, folder: /srv/a}]", written))
		if got := c.Connections[0].Host; got != want {
			t.Errorf("%s is read as %s", written, got)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]int64{
		"0": 0, "1000": 1000, "1KiB": 1024, "1 kib": 1024, "1KB": 1000, "25MiB": 25 << 20, "2MB": 2e6, "1GiB": 1 << 30, "3GB": 3e9, "1024GiB": 1 << 40,
	} {
		if got := load(t, minimal+"    max_message_size: "+written).Connections[0].MaxMessageSize; got != want {
			t.Errorf("%s is read as %d", written, got)
		}
	}
}

func TestDoubtsAreWarnings(t *testing.T) {
	t.Parallel()
	const trusted = "    match_server_hostname: ENABLED\n    username: u\n    password: {env: A}\n"
	for _, c := range []struct {
		name, yaml string
		mode       os.FileMode
		want       []string
	}{
		{"nothing", minimal + trusted, 0o600, nil},
		{"no connections", "listen: \"\"\n", 0o600, []string{"1:1: connections: there are none, so nothing is polled"}},
		{"no file included", minimal + trusted + "include: /nonexistent/*.yaml\n", 0o600, []string{"10:10: include: no file matches /nonexistent/*.yaml"}},
		{
			"host name not matched", minimal + "    username: u\n    password: {env: A}\n", 0o600,
			[]string{"3:5: match_server_hostname: DISABLED takes the certificate of any host for that of this one"},
		},
		{
			"clear text", minimal + trusted + "    connection_security: none", 0o600,
			[]string{"10:26: connection_security: NONE sends the password and the messages in clear text"},
		},
		{
			"clear text within the machine",
			"connections: [{name: a, host: 127.0.0.1, port: 143, connection_security: NONE, folder: /srv/a, username: u, password: p}]",
			0o600, nil,
		},
		{
			"the first message for ever", minimal + trusted + "    pull_disposition: GET_FIRST_MESSAGE", 0o600,
			[]string{"10:23: pull_disposition: GET_FIRST_MESSAGE with disposition KEEP never gets past the first message"},
		},
		{
			"the first message, marked", minimal + trusted + "    disposition: SEEN\ndefaults:\n  pull_disposition: GET_FIRST_MESSAGE", 0o600,
			[]string{"12:21: pull_disposition: GET_FIRST_MESSAGE with disposition SEEN never gets past the first message"},
		},
		{"all messages", minimal + trusted + "    max_messages: 0\n    pull_disposition: GET_FIRST_MESSAGE", 0o600, nil},
		{"the first message, deleted", minimal + trusted + "    disposition: DELETE\n    pull_disposition: GET_FIRST_MESSAGE", 0o600, nil},
		{"no interval", minimal + trusted + "    max_retries: 3", 0o600, []string{"10:18: max_retries: has no effect without retry_interval"}},
		{"no retries", minimal + trusted + "    retry_interval: 3", 0o600, []string{"10:21: retry_interval: has no effect without max_retries"}},
		{"nobody", minimal + "    match_server_hostname: ENABLED", 0o600, []string{"3:5: username: missing, so the server will not let anyone in"}},
		{
			"no password", minimal + "    match_server_hostname: ENABLED\n    username: u", 0o600,
			[]string{"3:5: password: missing, so the server will not let the user in"},
		},
		{
			"a password that others can read", minimal + "    match_server_hostname: ENABLED\n    username: u\n    password: p", 0o640,
			[]string{"9:15: password: stands in a file that other users can read; chmod go= the file, or see {file: PATH} and {credential: NAME}"},
		},
		{"a source that others can read", minimal + trusted, 0o644, nil},
		{
			"names that differ in case", minimal + trusted + "  - name: A\n    host: b.example\n    port: 993\n    folder: /srv/a\n" + trusted, 0o600,
			[]string{`10:11: name: "a" and "A" differ in case alone and share a folder`},
		},
		{"such names in folders of their own", minimal + trusted + "  - name: A\n    host: b.example\n    port: 993\n    folder: /srv/b\n" + trusted, 0o600, nil},
		{
			"versions that are never negotiated", minimal + trusted + "    ssl_authentication_protocol: [SSLv2Hello, SSLv3, TLSv1_2]", 0o600,
			[]string{
				"10:35: ssl_authentication_protocol: SSLv2Hello is the format of a message and no version, so it has no effect",
				"10:47: ssl_authentication_protocol: SSLv3 is never negotiated (RFC 7568)",
			},
		},
		{
			"a doubt about the defaults once", "defaults: {max_retries: 1, match_server_hostname: ENABLED, username: u, password: p, host: a, port: 1, folder: /srv/a}\nconnections: [{name: a}, {name: b}]", 0o600,
			[]string{"1:25: max_retries: has no effect without retry_interval"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.yaml)
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range loaded.Warnings {
				got = append(got, strings.TrimPrefix(w.Error(), path+":"))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.yaml")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, maxFile+1); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "open: no such file or directory; --config PATH or $POLLER_CONFIG name another file",
		dir:                             "not a regular file",
		pipe:                            "not a regular file",
		huge:                            "larger than 64 MiB",
	} {
		_, err := Load(path)
		if want := path + ": " + want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestFilesThatCostMuchAreRefused(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("*a, ", 20_000)
	for _, c := range []struct{ name, yaml, want string }{
		{"aliases of aliases", billionLaughs(), "connections: found a list"},
		{"merges of merges", "defaults: &a {port: 1}\nx: &m [" + many + "]\nconnections:\n" + strings.Repeat("  - <<: *m\n", 1000), "there are more than 4194304 values"},
		{"faults without end", "connections: [&a {prot: 1}, " + many + "]", "there are more than 1000 faults"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(write(t, c.yaml))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
		})
	}
}

func billionLaughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x]\n")
	for i := range 30 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 10))
	}
	return b.String() + "connections: *a30\n"
}

func TestAFingerprintIsEqualExactlyWhenTheSettingsAre(t *testing.T) {
	t.Parallel()
	ca, other := mailtest.NewCA(t).PEMFile(t), mailtest.NewCA(t).PEMFile(t)
	base := minimal + "    username: u\n"
	seen := map[string]string{}
	for _, change := range []string{
		"", "    description: d", "    status: DISABLED", "    password: p", "    password: q",
		"    password: {file: /p}", "    password: {env: p}", "    password: {command: [p]}", "    password: {command: [p, q]}",
		"    password: {command: [p q]}", "    password: {credential: p}", "    match_server_hostname: ENABLED",
		"    store_type: POP3", "    connection_security: STARTTLS", "    disposition: SEEN", "    pull_disposition: GET_LAST_MESSAGE",
		"    max_retries: 1", "    retry_interval: 1", "    schedule: \"@hourly\"", "    mailbox: A", "    max_messages: 2",
		"    max_message_size: 1", "    timeout: 1", "    poll_timeout: 31", "    back_off: DISABLED", "    auth: PLAIN",
		"    file_mode: 0600", "    dir_mode: 0700", "    ca_file: " + ca, "    ca_file: " + other, "ca_file: " + ca,
	} {
		text := base + change + "\n"
		first, second := load(t, text).Connections[0].Fingerprint, load(t, text).Connections[0].Fingerprint
		if first != second {
			t.Errorf("%q: loaded twice, the fingerprints are %s and %s", change, first, second)
		}
		if twin, ok := seen[first]; ok {
			t.Errorf("%q and %q have one fingerprint", change, twin)
		}
		seen[first] = change
	}
	same := load(t, base+"    disposition: keep\n    mailbox: inbox\n    schedule: \n    timeout: 30000ms\n").Connections[0].Fingerprint
	if seen[same] != "" || same == "" {
		t.Error("defaults that are written out change the fingerprint")
	}
	content := filepath.Join(t.TempDir(), "ca.pem")
	prints := map[string]bool{}
	for _, file := range []string{ca, other} {
		pem, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(content, pem, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		prints[load(t, base+"    ca_file: "+content).Connections[0].Fingerprint] = true
	}
	if len(prints) != 2 {
		t.Error("another certificate in the same file does not change the fingerprint")
	}
}

func TestCertificatesAreReadOnceForAll(t *testing.T) {
	t.Parallel()
	ca, own := mailtest.NewCA(t).PEMFile(t), mailtest.NewCA(t).PEMFile(t)
	c := load(t, fmt.Sprintf(`
ca_file: %s
defaults: {host: a, port: 1, folder: /srv/a}
connections: [{name: a}, {name: b}, {name: c, ca_file: %s}]
`, ca, own))
	a, b, both := c.Connections[0].TLS.Roots, c.Connections[1].TLS.Roots, c.Connections[2].TLS.Roots
	if a == nil || a != b || both == nil || a.Equal(both) {
		t.Errorf("the roots are %p, %p and %p", a, b, both)
	}
	if load(t, minimal).Connections[0].TLS.Roots != nil {
		t.Error("without ca_file, the roots are not the system's")
	}
}

func TestTheStateDirectoryIsSystemds(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
	for text, want := range map[string]struct {
		dir    string
		warned bool
	}{
		minimal:                           {"/var/lib/one", true},
		"state_dir: /srv/state" + minimal: {"/srv/state", false},
	} {
		c := load(t, text)
		if warned := strings.Contains(fmt.Sprint(c.Warnings), "comes from $STATE_DIRECTORY"); c.StateDir != want.dir || warned != want.warned {
			t.Errorf("got %s, warned: %t", c.StateDir, warned)
		}
	}
}

func TestDefaultsOfTheFile(t *testing.T) {
	t.Parallel()
	c := load(t, minimal)
	if c.Listen != "127.0.0.1:9469" || c.ShutdownGrace.Seconds() != 30 || c.Log != (Log{"info", "auto", true}) || c.Limits != (Limits{64, 8}) {
		t.Errorf("got %+v", c)
	}
	for _, off := range []string{`""`, "", "~"} {
		if got := load(t, "listen: "+off+minimal).Listen; got != "" {
			t.Errorf("listen: %s is %q", off, got)
		}
	}
	want := mail.Connection{
		Name: "a", Enabled: true, Host: "a.example", Port: 993, Security: mail.SSLTLS, TLS: tlspolicy.Policy{Identity: c.Connections[0].TLS.Identity}, Auth: mail.AuthAuto, Store: mail.IMAP, Mailbox: "INBOX",
		Pull: newSettings().Pull, Dispose: "KEEP", Format: mail.EML, WithoutAttachments: mail.SaveMessage, Folder: "/srv/a", FileMode: 0o640, DirMode: 0o750, Schedule: "@every 1m", BackOff: true,
		MaxMessages: 1, Timeout: 30e9, PollTimeout: 600e9, Fingerprint: c.Connections[0].Fingerprint,
	}
	if got := c.Connections[0]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// commented finds settings that are commented out: no blank behind the mark.
var commented = regexp.MustCompile(`(?m)^( *)#(\S)`)

func TestTheExampleLoads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../configs/poller.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, string(text))
	if len(c.Connections) == 0 {
		t.Error("there is no connection in it")
	}
	for _, w := range c.Warnings {
		t.Errorf("a doubt about it: %v", w)
	}
	uncommented := commented.ReplaceAllString(string(text), "$1$2")
	certificate := mailtest.NewCA(t).PEMFile(t)
	load(t, strings.NewReplacer("/etc/poller/ca.pem", certificate, "/etc/poller/keys/acme.crt", certificate).Replace(uncommented))
	for _, names := range [][]string{names(topKeys), names(connectionKeys), names(logKeys), names(limitKeys), names(sourceKeys), names(clientKeyKeys), names(oauth2Keys), names(apiTokenKeys), names(notifyKeys)} {
		for _, name := range names {
			if !regexp.MustCompile(`(?m)(^ *|[-{,] *)` + name + ":").MatchString(uncommented) {
				t.Errorf("%s: is not in the example", name)
			}
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	described(t, topKeys)
	described(t, logKeys)
	described(t, limitKeys)
	described(t, connectionKeys)
	described(t, sourceKeys)
	described(t, clientKeyKeys)
	described(t, notifyKeys)
	described(t, apiTokenKeys)
	described(t, oauth2Keys)
}

func described[T any](t *testing.T, keys []key[T]) {
	t.Helper()
	seen := map[string]bool{}
	for _, k := range keys {
		if k.about == "" || k.accepts == "" || strings.Contains(k.about, "\n") || seen[k.name] {
			t.Errorf("%s: about %q, accepts %q, again %v", k.name, k.about, k.accepts, seen[k.name])
		}
		seen[k.name] = true
	}
}
