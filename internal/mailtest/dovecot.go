package mailtest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"mailpoller/internal/mail"
)

// DovecotEnv is the environment variable that says that Dovecot is here:
// `make test` installs it and sets the variable to 1.
const DovecotEnv = "POLLER_TEST_DOVECOT"

// SystemdEnv says in the same way that what judges the deployment is here:
// systemd's tools, nfpm, dpkg-deb, rpm, mandoc, and the programs that are replaced.
const SystemdEnv = "POLLER_TEST_SYSTEMD"

// Systemd passes a test over where SystemdEnv is not set.
func Systemd(t testing.TB) {
	t.Helper()
	if os.Getenv(SystemdEnv) == "" {
		t.Skipf("needs tools of systemd and of packages: run make test, or set %s=1", SystemdEnv) //nolint:forbidigo // like StartDovecot
	}
}

// Dovecot is a private instance of a real IMAP and POP3 server. It belongs to
// the test that started it, its subtests included: one instance serves as many
// of them as like to run at once, each with users of its own.
type Dovecot struct {
	CA       *CA
	Password string // of every user; random, so that it can be looked for in logs

	ports     map[endpoint]int
	dir       string
	owner     int // who the mail belongs to
	users     atomic.Int64
	delivered atomic.Int64
}

// endpoint is what a server offers on one of its ports.
type endpoint struct {
	store mail.StoreType
	tls   bool
}

// endpoints are the ports in the order in which they are handed to Dovecot.
var endpoints = [...]endpoint{{mail.IMAP, false}, {mail.IMAP, true}, {mail.POP3, false}, {mail.POP3, true}}

//go:embed dovecot.conf
var dovecotConf string

// startTimeout bounds the start of Dovecot, which takes about 0.1 s.
const startTimeout = 20 * time.Second

// supervise runs Dovecot until the pipe on its standard input is closed: by
// the test that is over, or by the end of the test binary, whatever ended it.
// Dovecot takes over the listening sockets 3 to 6 the way systemd passes them.
// It is killed: nothing of it is needed any more, and it takes a second to go
// by itself.
const supervise = `
sh -c 'LISTEN_PID=$$ LISTEN_FDS=4 exec "$0" -F -c "$1"' "$0" "$1" &
exec 3<&- 4<&- 5<&- 6<&-
read -r _
kill -KILL 0`

// StartDovecot starts an instance on loopback ports of its own and stops it
// when the test ends. Settings are lines of dovecot.conf that override those
// of the file beside this one, such as
//
//	imap_capability = IMAP4rev1
//	pop3_uidl_format = %f
//
// A test that calls it is passed over where DovecotEnv is not set, so that the
// other tests need nothing but Go; where it is set and there is no Dovecot,
// the test fails.
func StartDovecot(t testing.TB, settings ...string) *Dovecot {
	t.Helper()
	if os.Getenv(DovecotEnv) == "" {
		t.Skipf("needs Dovecot: run make test, or set %s=1", DovecotEnv) //nolint:forbidigo // the one place that excludes what needs a server
	}
	program, err := exec.LookPath("dovecot")
	if err != nil {
		program = "/usr/sbin/dovecot" // not in the PATH of everybody
	}
	dir, err := os.MkdirTemp("", "dovecot") //nolint:usetesting // the path of a Unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})

	d := &Dovecot{CA: NewCA(t), Password: rand.Text(), dir: dir, ports: make(map[endpoint]int)}
	d.owner = os.Getuid()
	if d.owner == 0 {
		d.owner = nobody
	}
	sockets := d.listen(t)
	d.configure(t, settings)

	cmd := exec.Command("sh", "-c", supervise, program, filepath.Join(dir, "dovecot.conf")) //nolint:gosec,noctx // G204: the arguments are ours; it ends with its standard input
	cmd.ExtraFiles = sockets
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = startTimeout
	alive, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	for _, s := range sockets {
		s.Close()
	}
	if err != nil {
		t.Fatalf("start dovecot: %v", err)
	}
	t.Cleanup(func() {
		alive.Close()
		_ = cmd.Wait() // killed, as it should be; returns when nothing holds its output any more
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("dovecot said:\n%s%s", output.Bytes(), log)
		}
	})
	d.awaitGreeting(t)
	return d
}

// nobody is who the mail belongs to when the tests run as root.
const nobody = 65534

// listen opens the ports, as the kernel chooses them.
func (d *Dovecot) listen(t testing.TB) []*os.File {
	t.Helper()
	var sockets []*os.File
	for _, e := range endpoints {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		socket, err := l.File() // a socket of its own: the listener is done with
		_ = l.Close()
		if err != nil {
			t.Fatal(err)
		}
		d.ports[e] = l.Addr().(*net.TCPAddr).Port
		sockets = append(sockets, socket)
	}
	return sockets
}

// configure fills the directory of the instance.
func (d *Dovecot) configure(t testing.TB, settings []string) {
	t.Helper()
	cert := d.CA.Server(t, Host, "localhost")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{
		"Dir": d.dir, "Password": d.Password, "Settings": settings, "UID": d.owner, "GID": d.owner,
		"IMAP": d.Port(mail.IMAP, mail.NoTLS), "IMAPS": d.Port(mail.IMAP, mail.SSLTLS),
		"POP3": d.Port(mail.POP3, mail.NoTLS), "POP3S": d.Port(mail.POP3, mail.SSLTLS),
	}
	if os.Getuid() != 0 {
		self, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		group, err := user.LookupGroupId(self.Gid)
		if err != nil {
			t.Fatal(err)
		}
		values["GID"], values["Self"], values["SelfGroup"] = self.Gid, self.Username, group.Name
	}
	var conf strings.Builder
	if err := template.Must(template.New("").Parse(dovecotConf)).Execute(&conf, values); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"dovecot.conf": []byte(conf.String()),
		"cert.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Leaf.Raw}),
		"key.pem":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(d.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(d.dir, 0o755); err != nil { //nolint:gosec // G302: its processes run as several users
		t.Fatal(err)
	}
	d.makeDir(t, "mail")
}

// awaitGreeting returns when Dovecot answers. The socket has been listening
// all along, so there is nothing to try again.
func (d *Dovecot) awaitGreeting(t testing.TB) {
	t.Helper()
	addr := net.JoinHostPort(Host, fmt.Sprint(d.Port(mail.IMAP, mail.NoTLS)))
	c, err := net.DialTimeout("tcp", addr, startTimeout) //nolint:noctx // bounded
	if err != nil {
		t.Fatalf("start dovecot: %v", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(startTimeout))
	greeting, err := bufio.NewReader(io.LimitReader(c, 1<<12)).ReadString('\n')
	if err != nil || !strings.HasPrefix(greeting, "* OK") {
		t.Fatalf("start dovecot: it greets with %q, %v", greeting, err)
	}
}

// Port is where a protocol is served: STARTTLS and NONE share one.
func (d *Dovecot) Port(store mail.StoreType, security mail.Security) int {
	return d.ports[endpoint{store, security == mail.SSLTLS}]
}

// Connection is a connection to a user's mailbox; see the function of the same
// name for the settings it starts with.
func (d *Dovecot) Connection(t testing.TB, user string, store mail.StoreType, security mail.Security) *mail.Connection {
	t.Helper()
	return Connection(t, d.CA, store, security, d.Port(store, security), user, d.Password)
}
