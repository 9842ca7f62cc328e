package mounts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// valve stops calls into a file system, as that of a server which is gone does, and
// lets them go on when it is back.
type valve struct {
	mu   sync.Mutex
	open chan struct{} // closed while calls go through
}

func newValve(t *testing.T) *valve {
	v := &valve{open: make(chan struct{})}
	close(v.open)
	t.Cleanup(v.release)
	return v
}

func (v *valve) hang() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open = make(chan struct{})
}

func (v *valve) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.open:
	default:
		close(v.open)
	}
}

// pass waits until calls go through, or the one who called is gone.
func (v *valve) pass(ctx context.Context) {
	v.mu.Lock()
	open := v.open
	v.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
	}
}

// crew is connections of one host: some on a mount, and one on a good folder.
type crew struct {
	*rig.Site
	t      *testing.T
	server *mailtest.IMAP
	users  map[string]string // by connection
	folder map[string]string // where to look for its files
}

const mounted = 8 // connections on the mount: as many as may be polled at once of one host

func newCrew(t *testing.T, r *refusals) *crew {
	t.Helper()
	c := &crew{t: t, server: mailtest.NewIMAP(t), users: make(map[string]string), folder: make(map[string]string)}
	mount, beneath := mount(t, r)
	var connections []rig.Settings
	add := func(name, folder, look string) {
		user := c.server.NewUser(t)
		c.users[name], c.folder[name] = user, look
		at := c.server.Connection(t, user, mail.NoTLS)
		connections = append(connections, rig.Settings{
			"name": name, "host": at.Host, "port": at.Port, "username": user, "password": c.server.Password, "connection_security": mail.NoTLS,
			"folder": folder, "disposition": "DELETE", "max_messages": 0, "back_off": "DISABLED", "schedule": "@every 1s",
		})
	}
	for i := range mounted {
		name := fmt.Sprint("mounted-", i)
		path := filepath.Join(mount, name)
		if err := os.Mkdir(filepath.Join(beneath, name), 0o700); err != nil {
			t.Fatal(err)
		}
		add(name, path, filepath.Join(beneath, name))
	}
	good := t.TempDir()
	add("good", good, good)
	c.Site = rig.New(t)
	c.Top = rig.Settings{"shutdown_grace": "1s"}
	c.Configure(connections...)
	return c
}

func (c *crew) deliver(name string) {
	c.t.Helper()
	c.server.Deliver(c.t, c.users[name], []byte("Subject: "+name+"\r\n\r\nmessage\r\n"))
}

// mounts delivers a message to each connection on the mount.
func (c *crew) deliverMounted() {
	c.t.Helper()
	for i := range mounted {
		c.deliver(fmt.Sprint("mounted-", i))
	}
}

// goesOn delivers messages to the good connection, one behind the other.
func (c *crew) goesOn(d *rig.Daemon) {
	c.t.Helper()
	for range 3 {
		mark := d.Mark()
		c.deliver("good")
		d.Await(mark, `"msg":"message saved","connection":"good"`)
	}
}

// ends stops the daemon, which must not wait for the mount.
func (c *crew) ends(d *rig.Daemon) {
	c.t.Helper()
	began := time.Now()
	d.Stop()
	if took := time.Since(began); took > rig.Patience/2 {
		c.t.Errorf("the daemon took %v to end", took)
	}
}

// once asserts that each connection on the mount has its message, once.
func (c *crew) once() {
	c.t.Helper()
	for name, folder := range c.folder {
		if n := len(rig.Files(c.t, folder)); name != "good" && n != 1 {
			c.t.Errorf("%s has %d files", name, n)
		}
	}
}

// TestAMountThatHangsCostsItsOwnConnectionsAlone: with as many of one host as may be
// polled at once, one more goes on; the daemon starts and ends all the same, and what
// was kept waiting is delivered when the mount is back.
func TestAMountThatHangsCostsItsOwnConnectionsAlone(t *testing.T) {
	t.Parallel()
	v := newValve(t)
	c := newCrew(t, &refusals{looks: v.pass, before: func(ctx context.Context, _ string) { v.pass(ctx) }})
	c.deliverMounted()
	v.hang()
	daemon := c.Start().Ready()
	c.goesOn(daemon)
	c.ends(daemon)

	daemon = c.Start().Ready()
	c.goesOn(daemon)
	mark := daemon.Mark()
	v.release()
	for i := range mounted {
		daemon.Await(mark, fmt.Sprintf(`"msg":"message saved","connection":"mounted-%d"`, i))
	}
	c.ends(daemon)
	c.once()
}

// TestAMountThatHangsInTheMiddleOfAMessage: the daemon ends all the same, and the
// messages are delivered by the next one, once.
func TestAMountThatHangsInTheMiddleOfAMessage(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"create", "fsync", "rename"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			v, reached := newValve(t), make(chan struct{}, 1000)
			c := newCrew(t, &refusals{before: func(ctx context.Context, call string) {
				if call == at {
					reached <- struct{}{}
					v.pass(ctx)
				}
			}})
			v.hang()
			c.deliverMounted()
			daemon := c.Start().Ready()
			for n := range mounted {
				select {
				case <-reached:
				case <-time.After(rig.Patience):
					t.Fatalf("%d jobs came as far as to %s", n, at)
				}
			}
			c.ends(daemon)
			v.release()
			daemon = c.Start().Ready()
			for i := range mounted {
				daemon.Await(0, fmt.Sprintf(`"msg":"job finished|"msg":"poll finished","connection":"mounted-%d"`, i))
			}
			c.ends(daemon)
			c.once()
		})
	}
}

// TestAFolderThatIsSlowIsNotTheServersFault: what takes longer here than the server
// may be silent fails no job.
func TestAFolderThatIsSlowIsNotTheServersFault(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"create", "fsync", "rename"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			var once sync.Once
			s := newSite(t, &refusals{before: func(_ context.Context, call string) {
				if call == at {
					once.Do(func() { <-time.After(2500 * time.Millisecond) })
				}
			}}, rig.Settings{"timeout": "1s", "command_timeout": "1s"})
			s.deliver(3)
			if v := s.Poll(name)[0]; v.State != "SUCCEEDED" || v.Messages != 3 || v.Attempts != 1 {
				t.Errorf("%s, %d messages, %d attempts, %+v", v.State, v.Messages, v.Attempts, v.Error)
			}
			if found := s.seen(); len(found) != 3 {
				t.Errorf("delivered: %v", found)
			}
		})
	}
}
