package servers

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// serversEnv is the environment variable that says where the servers were
// unpacked: make test-servers does that, and sets it.
const serversEnv = "POLLER_TEST_SERVERS"

// unpacked is the directory that scripts/install-mail-servers filled. Without
// the variable the test is passed over; with it, a server that is missing fails.
func unpacked(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(serversEnv)
	if dir == "" {
		t.Skipf("needs mail servers of Debian: run make test-servers") //nolint:forbidigo // like mailtest.StartDovecot
	}
	return dir
}

// instance is a server that runs in a root directory of its own, on loopback
// ports of its own, until the test that started it is over.
type instance struct {
	program  string // which server it is: a directory of testdata
	CA       *mailtest.CA
	Password string // of every user

	ports map[port]int
	root  string // its root directory, as this process reaches it
	said  transcript
	users atomic.Int64
	mails atomic.Int64
}

// port names what is served on a port.
type port struct {
	store mail.StoreType
	tls   bool // from the first byte on
}

// portNames are the ports as templates name them.
var portNames = map[string]port{
	"IMAP": {mail.IMAP, false}, "IMAPS": {mail.IMAP, true}, "POP3": {mail.POP3, false}, "POP3S": {mail.POP3, true},
}

//go:embed testdata
var configuration embed.FS

const (
	accounts = 200  // of every server
	uid      = 2000 // who their mail belongs to
	// startTimeout bounds a start, which takes a second or two.
	startTimeout = 60 * time.Second
)

// boot runs in namespaces of its own for mounts and processes, as the first
// process of the latter, and nowhere else, for it kills all that it can see. It makes the root directory ($1/root, of the layers $2)
// and runs the server in it. When descriptor 3 is closed, by the test that is over
// or by the end of the test binary, whatever ended it, all that the server
// started is killed; the namespaces, and the mounts with them, go with the
// last process.
const boot = `
set -e
[ $$ = 1 ]
cd "$1"
mount -t tmpfs tmpfs mount
mkdir mount/changes mount/work mount/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/mount/changes,workdir=$1/mount/work" mount/root
cd mount/root
mount -t proc proc proc
mount -t tmpfs tmpfs dev
for device in full null random urandom zero; do
	: >dev/$device
	mount --bind /dev/$device dev/$device
done
ln -s /proc/self/fd/2 dev/stderr
: >dev/log
mount --bind "$1/log" dev/log
{ read -r _ <&3 || :; kill -KILL -1; } &
exec 3<&-
chroot . /bin/sh /start </dev/null || :
`

// start starts a server. What its templates need beside the usual is in values.
func start(t *testing.T, program string, values map[string]any) *instance {
	t.Helper()
	packages := unpacked(t)
	if _, err := os.Stat(filepath.Join(packages, program)); err != nil {
		t.Fatalf("%s is not unpacked in %s: run make test-servers (%v)", program, packages, err)
	}
	dir, err := os.MkdirTemp("", program) //nolint:usetesting // the path of a Unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &instance{program: program, CA: mailtest.NewCA(t), Password: rand.Text(), ports: make(map[port]int)}
	for _, p := range portNames {
		s.ports[p] = reserve(t)
	}
	files := s.configure(t, dir, values)
	s.listenForLog(t, dir)
	layers := []string{files, filepath.Join(packages, program), filepath.Join(packages, "base")}
	s.run(t, dir, layers)
	return s
}

// reserve returns a port that the kernel chose. It stays bound until the test is
// over, so that no other process gets it; a server may listen on it all the
// same, because both sides set SO_REUSEADDR and this one does not listen.
func reserve(t *testing.T) int {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) }) // nothing was written to it
	err = syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	name, nameErr := syscall.Getsockname(socket)
	if err = errors.Join(err, nameErr); err != nil {
		t.Fatal(err)
	}
	return name.(*syscall.SockaddrInet4).Port
}

// configure writes the files of testdata that concern the server, with the
// values filled in, and returns the directory that they are in: the uppermost
// layer of the root.
func (s *instance) configure(t *testing.T, dir string, more map[string]any) string {
	t.Helper()
	values := map[string]any{"Password": s.Password, "UID": uid, "PopMinPoll": 0}
	for name, p := range portNames {
		values[name] = s.ports[p]
	}
	var users []string
	for n := range accounts {
		users = append(users, user(n+1))
	}
	values["Users"] = users
	for k, v := range more {
		values[k] = v
	}
	files := filepath.Join(dir, "files")
	for _, d := range []string{"mount", "files/dev", "files/proc", "files/run", "files/tmp", "files/etc/tls", "files/home"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"testdata/common", "testdata/" + s.program} {
		if err := fill(files, from, values); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := mailtest.KeyFiles(t, s.CA.Server(t, mailtest.Host, "localhost"))
	both := []byte{}
	for from, to := range map[string]string{certificate: "certificate.pem", key: "key.pem"} {
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(files, "etc/tls", to), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, content...)
	}
	if err := os.WriteFile(filepath.Join(files, "etc/tls/both.pem"), both, 0o644); err != nil {
		t.Fatal(err)
	}
	return files
}

// fill fills in the templates of a tree.
func fill(to, from string, values map[string]any) error {
	return fs.WalkDir(configuration, from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := configuration.ReadFile(path)
		if err != nil {
			return err
		}
		filled := new(bytes.Buffer)
		if err := template.Must(template.New(path).Option("missingkey=error").Parse(string(text))).Execute(filled, values); err != nil {
			return err
		}
		return os.WriteFile(target, filled.Bytes(), 0o644)
	})
}

// listenForLog is the syslog of the server.
func (s *instance) listenForLog(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "log")
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		line := make([]byte, 1<<16)
		for {
			n, err := log.Read(line)
			if err != nil {
				return
			}
			_, _ = s.said.Write(append(bytes.TrimRight(line[:n], "\x00\n"), '\n')) // never fails
		}
	}()
	t.Cleanup(func() {
		log.Close()
		<-done
	})
}

// run starts the processes of the server, and returns when it answers on all of
// its ports.
func (s *instance) run(t *testing.T, dir string, layers []string) {
	t.Helper()
	alive, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", boot, "boot", dir, strings.Join(layers, ":"))
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	cmd.ExtraFiles = []*os.File{alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	err = cmd.Start()
	alive.Close()
	if err != nil {
		t.Fatalf("start %s, which needs root: %v", s.program, err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed, or what it said tells why it ended
		close(gone)
	}()
	t.Cleanup(func() {
		end.Close()
		_ = cmd.Process.Kill() // the kernel kills all of its namespace with it
		<-gone
	})
	s.root = fmt.Sprintf("/proc/%d/root%s/mount/root", cmd.Process.Pid, dir)
	late := time.After(startTimeout)
	for p, number := range s.ports {
		for !answers(number, p) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-gone:
				t.Fatalf("%s ended before it answered:\n%s", s.program, s.said.tail())
			case <-late:
				t.Fatalf("%s does not answer on its port for %v:\n%s", s.program, p, s.said.tail())
			}
		}
	}
}

// answers reports whether a server greets. Where TLS comes first it is enough that
// somebody listens.
func answers(number int, p port) bool {
	c, err := net.DialTimeout("tcp", address(number), startTimeout)
	if err != nil {
		return false
	}
	defer c.Close()
	if p.tls {
		return true
	}
	_ = c.SetDeadline(time.Now().Add(startTimeout))
	greeting := make([]byte, len("* OK"))
	_, err = io.ReadFull(c, greeting)
	return err == nil && (string(greeting) == "* OK" || string(greeting[:3]) == "+OK")
}

func address(number int) string { return net.JoinHostPort(mailtest.Host, fmt.Sprint(number)) }

// Port is where a protocol is served: STARTTLS and NONE share one.
func (s *instance) Port(store mail.StoreType, security mail.Security) int {
	return s.ports[port{store, security == mail.SSLTLS}]
}

// user is the name of an account.
func user(n int) string { return fmt.Sprintf("user%03d", n) }

// nextUser is an account that nobody has used.
func (s *instance) nextUser(t *testing.T) string {
	t.Helper()
	n := s.users.Add(1)
	if n > accounts {
		t.Fatalf("%s has no more than %d accounts", s.program, accounts)
	}
	return user(int(n))
}

// mkdir makes a directory in the root of the server, and those above it, that
// belong to its users.
func (s *instance) mkdir(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Join(s.root, path)
	if _, err := os.Stat(dir); err == nil {
		return
	}
	s.mkdir(t, filepath.Dir(path))
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
}

// write puts a file into the root of the server that belongs to its users.
func (s *instance) write(t *testing.T, path string, content []byte) {
	t.Helper()
	file := filepath.Join(s.root, path)
	if err := errors.Join(os.WriteFile(file, content, 0o600), os.Chown(file, uid, uid)); err != nil {
		t.Fatal(err)
	}
}

// transcript is what a server said. It is written and read at the same time.
type transcript struct {
	mu sync.Mutex
	b  []byte
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

// all of it, so far.
func (l *transcript) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// tail is the end of it.
func (l *transcript) tail() string {
	all := l.all()
	return all[max(0, len(all)-8000):]
}

var process = regexp.MustCompile(`\[\d+\]`)

// about is what was said of a user: by lines that name it, and by the processes
// that wrote those.
func (l *transcript) about(user string) string {
	lines := strings.Split(l.all(), "\n")
	speakers := make(map[string]bool)
	for _, line := range lines {
		if strings.Contains(line, user) {
			speakers[process.FindString(line)] = true
		}
	}
	delete(speakers, "")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return !strings.Contains(line, user) && !speakers[process.FindString(line)]
	})
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
