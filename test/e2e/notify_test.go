package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// notified is the socket on which systemd is told.
type notified struct{ conn *net.UnixConn }

func listenNotify(t *testing.T) (n notified, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // the path of a Unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return notified{conn}, path
}

// await reads up to a datagram that matches, which it returns.
func (n notified) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	if err := n.conn.SetReadDeadline(time.Now().Add(rig.Patience)); err != nil {
		t.Fatal(err)
	}
	for buffer := make([]byte, 4096); ; {
		size, err := n.conn.Read(buffer)
		if err != nil {
			t.Fatalf("nothing matches %q: %v", pattern, err)
		}
		if re.Match(buffer[:size]) {
			return string(buffer[:size])
		}
	}
}

// disabled is a connection that is never polled.
func disabled() rig.Settings {
	return rig.Settings{"name": "off", "host": mailtest.Host, "port": 1, "username": "u", "password": "p", "status": "DISABLED"}
}

// TestSystemdIsTold follows what the daemon says to systemd in the whole of its
// life.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	n, socket := listenNotify(t)
	s := rig.New(t, disabled())
	d := s.Start("NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", 300*time.Millisecond/time.Microsecond))
	n.await(t, `^READY=1\nSTATUS=Polling 1 connections`)
	n.await(t, `^WATCHDOG=1$`)

	d.Signal(syscall.SIGHUP)
	n.await(t, `^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*$`)
	n.await(t, `^READY=1\nSTATUS=Polling 1 connections$`)

	s.Write("connections: 5")
	d.Signal(syscall.SIGHUP)
	n.await(t, `^RELOADING=1\n`)
	if said := n.await(t, `^READY=1\n`); !strings.Contains(said, "the one before stays in force") {
		t.Errorf("after a reload of a file with a fault: %q", said)
	}

	n.await(t, `^WATCHDOG=1$`)
	d.Signal(syscall.SIGTERM)
	n.await(t, `^STOPPING=1$`)
	<-d.Done
	if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestAWatchdogThatIsNotFed takes the state store away: what systemd then does
// is right.
func TestAWatchdogThatIsNotFed(t *testing.T) {
	t.Parallel()
	n, socket := listenNotify(t)
	s := rig.New(t, disabled())
	d := s.Start("NOTIFY_SOCKET="+socket, fmt.Sprintf("WATCHDOG_USEC=%d", 300*time.Millisecond/time.Microsecond))
	n.await(t, `^READY=1`)
	entries, err := filepath.Glob(filepath.Join(s.Dir, "state", "*.db"))
	if err != nil || len(entries) == 0 {
		t.Fatalf("no state store in %s: %v", s.Dir, err)
	}
	if err := os.Rename(entries[0], entries[0]+".away"); err != nil {
		t.Fatal(err)
	}
	mark := d.Mark()
	d.Await(mark, "the watchdog is not fed")
	d.Await(d.Mark(), "the watchdog is not fed")
	// What was sent before is read; behind it comes nothing.
	if err := n.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	fed := 0
	for buffer := make([]byte, 4096); ; {
		size, err := n.conn.Read(buffer)
		if err != nil {
			break
		}
		if strings.HasPrefix(string(buffer[:size]), "WATCHDOG=1") {
			fed++
		}
	}
	if fed > 5 {
		t.Errorf("the watchdog was fed %d times", fed)
	}
}

// TestAFaultInTheFileIsNotTriedAgain holds the exit code that the unit excludes
// from restarts.
func TestAFaultInTheFileIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s := rig.New(t, disabled())
	s.Write("connections: 5")
	if _, errs, code := s.Run("run"); code != 78 || !strings.Contains(errs, s.Config+":1:") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if err := os.Remove(s.Config); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := s.Run("run"); code != 78 {
		t.Errorf("without a file: exit code %d: %s", code, errs)
	}
}
