package mounts

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// site is a connection to a mailbox whose messages are moved onto a mount.
type site struct {
	*rig.Site
	t       *testing.T
	server  *mailtest.IMAP
	user    string
	folder  string
	beneath string
	sent    int
}

const name = "orders" // of the connection

// newSite makes one.
func newSite(t *testing.T, r *refusals, more rig.Settings) *site {
	t.Helper()
	s := &site{t: t, server: mailtest.NewIMAP(t)}
	s.folder, s.beneath = mount(t, r)
	s.user = s.server.NewUser(t)
	s.Site = rig.New(t, s.settings().With(more))
	return s
}

func (s *site) settings() rig.Settings {
	c := s.server.Connection(s.t, s.user, mail.NoTLS)
	return rig.Settings{
		"name": name, "host": c.Host, "port": c.Port, "username": s.user, "password": s.server.Password, "connection_security": mail.NoTLS,
		"folder": s.folder, "disposition": "DELETE", "max_messages": 0, "back_off": "DISABLED", "schedule": "@every 1h",
	}
}

// deliver gives the server messages, each with an attachment.
func (s *site) deliver(n int) {
	s.t.Helper()
	for range n {
		s.sent++
		s.server.Deliver(s.t, s.user, fmt.Appendf(nil, "Subject: %d\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nmessage %d\r\n", s.sent, s.sent))
	}
}

// seen are the messages in the folder, by their numbers and with their paths
// beneath the mount. What is hidden is left out.
func (s *site) seen() map[int]string {
	s.t.Helper()
	found := make(map[int]string)
	s.walk(func(path string, e fs.DirEntry) {
		if e.IsDir() || strings.HasSuffix(path, ".json") {
			return
		}
		data, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		at, n := strings.LastIndex(string(data), "message "), 0
		if _, err := fmt.Sscanf(string(data[max(at, 0):]), "message %d\r\n", &n); err != nil {
			s.t.Errorf("%s holds %q", path, data)
		}
		if found[n] != "" {
			s.t.Errorf("message %d is there twice: %s, %s", n, found[n], path)
		}
		found[n] = path
	})
	return found
}

// walk calls each for all that is visible in the folder.
func (s *site) walk(each func(path string, e fs.DirEntry)) {
	s.t.Helper()
	err := filepath.WalkDir(s.beneath, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || path == s.beneath:
			return err
		case !strings.HasPrefix(e.Name(), "."):
			each(path, e)
		case e.IsDir():
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// hidden are the paths of what is hidden in the folder.
func (s *site) hidden() (paths []string) {
	s.t.Helper()
	err := filepath.WalkDir(s.beneath, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return paths
}

// delivered holds that the messages are in the folder, each once, and that the
// server has none of them any more.
func (s *site) delivered(want ...int) {
	s.t.Helper()
	seen := s.seen()
	for _, n := range want {
		if seen[n] == "" {
			s.t.Errorf("message %d is not in the folder", n)
		}
	}
	if left := s.server.Messages(s.t, s.user); len(seen) != len(want) || len(left) > 0 {
		s.t.Errorf("%d messages in the folder, not %d; %d on the server", len(seen), len(want), len(left))
	}
	if hidden := s.hidden(); len(hidden) > 0 {
		s.t.Errorf("left in the folder: %q", hidden)
	}
}

// nothing holds that nothing was lost: all messages are on the server.
func (s *site) nothing() {
	s.t.Helper()
	if left := s.server.Messages(s.t, s.user); len(left) != s.sent || len(s.seen()) > 0 {
		s.t.Errorf("%d messages of %d on the server, in the folder %v", len(left), s.sent, s.seen())
	}
	if hidden := s.hidden(); len(hidden) > 0 {
		s.t.Errorf("left in the folder: %q", hidden)
	}
}

// tested is what the connection test says of the folder.
func (s *site) tested() (ok bool, detail, failure, hint string) {
	s.t.Helper()
	out, errs, _ := s.Run("test", "--json", name)
	var v struct {
		Steps []struct {
			Name, Detail string
			OK           bool
			Error        struct{ Message, Hint string }
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("%v in %s%s", err, out, errs)
	}
	for _, step := range v.Steps {
		if step.Name == mail.OpFolder {
			return step.OK, step.Detail, step.Error.Message, step.Error.Hint
		}
	}
	s.t.Fatalf("no step %s in %s", mail.OpFolder, out)
	return false, "", "", ""
}

// formats are what is written in other ways than a plain file.
var formats = map[string]rig.Settings{
	"EML":         {},
	"described":   {"metadata": true, "filename": "one.eml"},
	"MAILDIR":     {"format": "MAILDIR", "metadata": true},
	"ATTACHMENTS": {"format": "ATTACHMENTS", "metadata": true},
}

// each runs a test for each error with one format, and for each format with one
// error.
func each(t *testing.T, errnos []syscall.Errno, test func(t *testing.T, errno syscall.Errno, format string)) {
	t.Helper()
	names := slices.Sorted(maps.Keys(formats))
	for i := range max(len(errnos), len(names)) {
		errno, format := errnos[i%len(errnos)], names[i%len(names)]
		t.Run(fmt.Sprintf("%v, %s", errno, format), func(t *testing.T) {
			t.Parallel()
			test(t, errno, format)
		})
	}
}

// TestAMountWithoutModesAndTimesIsAWarningOnce: messages are delivered, with the
// modes that the mount gives; the connection test says so too, and leaves nothing.
func TestAMountWithoutModesAndTimesIsAWarningOnce(t *testing.T) {
	t.Parallel()
	each(t, []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOTSUP, syscall.ENOSYS, syscall.EINVAL, syscall.EIO}, func(t *testing.T, errno syscall.Errno, format string) {
		s := newSite(t, &refusals{mode: errno, times: errno}, formats[format])
		s.deliver(2)
		warnings := 1
		if format == "MAILDIR" { // whose files have the times of their messages
			warnings = 2
		}
		ok, detail, failure, _ := s.tested()
		if !ok || strings.Count(detail, "folder "+s.folder+": ") != warnings || !strings.Contains(detail, "modes that the mount gives them") || !strings.Contains(detail, errno.Error()) {
			t.Errorf("%t, %s%s", ok, detail, failure)
		}
		s.nothing()
		d := s.Start().Ready()
		mark := d.Mark()
		v := d.Poll(name)[0]
		if v.State != "SUCCEEDED" || len(v.Warnings) != warnings || !strings.Contains(v.Warnings[0], "folder "+s.folder+": file_mode and dir_mode cannot be set ("+errno.Error()+")") {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		d.Await(mark, `"level":"warn".*file_mode and dir_mode cannot be set`)
		s.delivered(1, 2)
		s.deliver(2)
		if v := d.Poll(name)[0]; v.State != "SUCCEEDED" || len(v.Warnings) > 0 {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		s.delivered(1, 2, 3, 4)
		s.walk(func(path string, e fs.DirEntry) {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]fs.FileMode{true: 0o750, false: 0o640}[e.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("%s has the mode %v", path, info.Mode())
			}
		})
		if d.Stop() != 0 {
			t.Error("the daemon did not end in order")
		}
	})
}

// TestADirectoryThatCannotBeSynced fails the attempt, and the hint names the
// setting that lets it pass.
func TestADirectoryThatCannotBeSynced(t *testing.T) {
	t.Parallel()
	each(t, []syscall.Errno{syscall.EINVAL, syscall.ENOTSUP, syscall.EBADF}, func(t *testing.T, errno syscall.Errno, format string) {
		s := newSite(t, &refusals{dirSync: errno}, formats[format])
		s.deliver(2)
		_, _, failure, hint := s.tested()
		v := s.Poll(name)[0]
		if v.State != "FAILED" || v.Error == nil || v.Error.Kind != "storage" {
			t.Fatalf("%+v, %+v", v, v.Error)
		}
		for _, said := range []struct{ failure, hint string }{{failure, hint}, {v.Error.Message, v.Error.Hint}} {
			if !strings.Contains(said.failure, "the file system cannot sync a directory") || !strings.Contains(said.hint, "set directory_sync: IF_SUPPORTED") {
				t.Errorf("%+v", said)
			}
		}
		s.nothing()
	})
}

// TestAMountWithoutHardLinks shows descriptions all the same.
func TestAMountWithoutHardLinks(t *testing.T) {
	t.Parallel()
	each(t, []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK}, func(t *testing.T, errno syscall.Errno, format string) {
		s := newSite(t, &refusals{link: errno, noReplace: syscall.EINVAL}, formats[format])
		s.deliver(3)
		if ok, _, failure, _ := s.tested(); !ok {
			t.Error(failure)
		}
		s.nothing()
		if v := s.Poll(name)[0]; v.State != "SUCCEEDED" || len(v.Warnings) > 0 {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		s.delivered(1, 2, 3)
		s.described()
	})
}

// described holds that each message has its own description beside it.
func (s *site) described() {
	s.t.Helper()
	found, seen := 0, s.seen()
	s.walk(func(path string, e fs.DirEntry) {
		if e.IsDir() || !strings.HasSuffix(path, ".json") {
			return
		}
		var about struct{ UID int }
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &about)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		found++
		of := strings.TrimSuffix(filepath.Base(path), ".json")
		message, _, _ := strings.Cut(strings.TrimPrefix(seen[about.UID], s.beneath+"/"), ":2,")
		if !slices.Contains(strings.Split(message, "/"), of) {
			s.t.Errorf("%s describes message %d, which is %s", path, about.UID, message)
		}
	})
	if found > 0 && found != s.sent {
		s.t.Errorf("%d descriptions of %d messages", found, s.sent)
	}
}

// TestAMountThatCannotRenameDirectories is found out by the connection test.
func TestAMountThatCannotRenameDirectories(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.ENOTSUP, syscall.EIO} {
		s := newSite(t, &refusals{dirRename: errno}, formats["ATTACHMENTS"])
		s.deliver(1)
		remedy := map[syscall.Errno]string{syscall.ENOTSUP: "set another format: than ATTACHMENTS", syscall.EIO: "see whether the folder and its file system are in order"}[errno]
		if ok, _, failure, hint := s.tested(); ok || !strings.Contains(failure, "rename") || !strings.Contains(failure, errno.Error()) || !strings.HasPrefix(hint, remedy) {
			t.Errorf("%s, hint %s", failure, hint)
		}
		if hidden := s.hidden(); len(hidden) > 0 {
			t.Errorf("left in the folder: %q", hidden)
		}
		if v := s.Poll(name)[0]; v.State != "FAILED" || v.Error == nil || v.Error.Kind != "storage" || !strings.Contains(v.Error.Message, errno.Error()) {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		if left := s.server.Messages(t, s.user); len(left) != 1 {
			t.Errorf("%d messages on the server", len(left))
		}
		if errno == syscall.ENOTSUP { // it is sure that nothing was renamed
			s.walk(func(path string, _ fs.DirEntry) { t.Errorf("visible: %s", path) })
		}
		// The way out.
		s.Configure(s.settings())
		if _, errs, code := s.Run("forget", "--yes", name); code != 0 {
			t.Errorf("%d, %s", code, errs)
		}
		if v := s.Poll(name)[0]; v.State != "SUCCEEDED" {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		if seen := s.seen(); len(seen) != 1 {
			t.Errorf("delivered: %v", seen)
		}
	}
}

// TestNothingIsReplaced on a mount that cannot rename without replacing, whatever
// it says to that.
func TestNothingIsReplaced(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.ENOSYS, syscall.ENOTSUP, syscall.EPERM} {
		s := newSite(t, &refusals{noReplace: errno}, rig.Settings{"filename": "one.eml"})
		precious := filepath.Join(s.beneath, "one.eml")
		if err := os.WriteFile(precious, []byte("message 99\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.deliver(3)
		if v := s.Poll(name)[0]; v.State != "SUCCEEDED" {
			t.Errorf("%+v, %+v", v, v.Error)
		}
		s.delivered(1, 2, 3, 99)
	}
}

// TestAMountThatFoldsNames takes messages whose names differ in case alone, and
// temporary files that are on record survive a restart.
func TestAMountThatFoldsNames(t *testing.T) {
	t.Parallel()
	k := &killer{}
	s := newSite(t, &refusals{folds: true, before: k.before}, nil)
	s.Configure(
		s.settings().With(rig.Settings{"filename": `{{.Subject | default "none"}}.eml`, "metadata": true}),
		s.settings().With(rig.Settings{"filename": `{{.Subject | default "none"}}.EML`, "metadata": true, "name": "ORDERS"}),
	)
	for n := int64(1); ; n++ {
		for _, subject := range []string{"invoice", "INVOICE", "Invoice"} {
			s.sent++
			s.server.Deliver(t, s.user, fmt.Appendf(nil, "Subject: %s\r\n\r\nmessage %d\r\n", subject, s.sent))
		}
		killed := s.killed(k, n)
		s.recover()
		if !killed || t.Failed() {
			break
		}
	}
	s.sent++
	s.server.Deliver(t, s.user, fmt.Appendf(nil, "Subject: INVOICE\r\n\r\nmessage %d\r\n", s.sent))
	if v := s.Poll("ORDERS")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
		t.Errorf("%+v, %+v", v, v.Error)
	}
	s.recover()
}

// killed runs a poll that is stopped dead at its n-th call to the mount, and
// reports whether it came as far.
func (s *site) killed(k *killer, n int64) bool {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), rig.Binary, "poll", "--json", name, "--config", s.Config)
	k.left.Store(n)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	k.pid.Store(int64(cmd.Process.Pid))
	_ = cmd.Wait() // killed, or not
	k.pid.Store(0)
	return k.left.Load() <= 0
}

// recover polls until all is delivered, each message once and with its own
// description.
func (s *site) recover() {
	s.t.Helper()
	for range 3 {
		v := s.Poll(name)[0]
		if v.State != "SUCCEEDED" {
			s.t.Fatalf("%+v, %+v", v, v.Error)
		}
		if v.Outcome != "saved" {
			break
		}
	}
	want := make([]int, s.sent)
	for i := range want {
		want[i] = i + 1
	}
	s.delivered(want...)
	s.described()
}

// TestStoppedDeadAtEachCall on a mount with none of all that: whatever was not
// done is done by the next poll, and nothing twice.
func TestStoppedDeadAtEachCall(t *testing.T) {
	t.Parallel()
	for format, settings := range formats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			k := &killer{}
			s := newSite(t, &refusals{mode: syscall.EPERM, times: syscall.EPERM, link: syscall.EPERM, noReplace: syscall.EINVAL, before: k.before}, settings)
			for n := int64(1); ; n++ {
				s.deliver(2)
				killed := s.killed(k, n)
				s.recover()
				if !killed || t.Failed() {
					break
				}
			}
			if s.sent < 10 {
				t.Errorf("a poll has %d calls", s.sent/2)
			}
		})
	}
}

// TestATestThatIsStoppedDead leaves nothing behind once the daemon was started.
func TestATestThatIsStoppedDead(t *testing.T) {
	t.Parallel()
	for format, settings := range formats {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			k := &killer{}
			s := newSite(t, &refusals{link: syscall.EPERM, before: k.before}, settings)
			calls := 0
			for n := int64(1); ; n++ {
				cmd := exec.CommandContext(t.Context(), rig.Binary, "test", name, "--config", s.Config)
				k.left.Store(n)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				k.pid.Store(int64(cmd.Process.Pid))
				_ = cmd.Wait() // killed, or not
				k.pid.Store(0)
				if k.left.Load() > 0 {
					break
				}
				if len(s.hidden()) > 0 {
					calls++
				}
				if seen := s.seen(); len(seen) > 0 {
					t.Errorf("visible: %v", seen)
				}
				if _, errs, code := s.Run("certs", "list"); code != 0 { // any command that opens the state
					t.Error(errs)
				}
				if hidden := s.hidden(); len(hidden) > 0 {
					t.Errorf("left in the folder: %q", hidden)
				}
				if t.Failed() {
					return
				}
			}
			if calls < 5 {
				t.Errorf("%d times there was something to remove", calls)
			}
		})
	}
}
