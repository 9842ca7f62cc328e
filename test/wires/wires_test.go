// Package wires runs the real binary against a real Dovecot over wires that
// are cut, that hang and that are slow, at each command of both protocols.
package wires

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

func TestMain(m *testing.M) {
	toxics.Register("hang", new(hanging))
	toxics.Register("meter", new(meter))
	os.Exit(rig.Main(m))
}

const (
	count   = 3           // messages in a mailbox
	silence = time.Second // timeout: over a wire that hangs; no shorter one is accepted
)

// session is a way to read a mailbox.
type session struct {
	store    mail.StoreType
	security mail.Security
}

func (s session) String() string { return fmt.Sprintf("%s %s", s.store, s.security) }

var sessions = []session{
	{mail.IMAP, mail.NoTLS}, {mail.POP3, mail.NoTLS}, {mail.IMAP, mail.SSLTLS}, {mail.POP3, mail.SSLTLS},
}

// experiment is one kind of fault on one kind of session.
type experiment struct {
	d *mailtest.Dovecot
	session
	mu    sync.Mutex
	tally rig.Tally
}

// over is the share of a session after which all that matters may be done.
const over = 0.7

// site is a mailbox with messages and a configuration to read it.
type site struct {
	*rig.Site
	user     string
	messages [][]byte
	settings rig.Settings
}

func (x *experiment) site(t *testing.T) *site {
	s := &site{user: x.d.NewUser(t), messages: rig.Numbered(count)}
	x.d.Deliver(t, s.user, s.messages...)
	s.settings = rig.Connect(t, x.d, "wire", s.user, x.store, x.security).With(rig.Settings{
		"disposition": "DELETE", "max_messages": 0,
	})
	s.Site = rig.New(t, s.settings)
	return s
}

// through polls once over a wire with something wrong.
func (x *experiment) through(t *testing.T, s *site, wrong ...toxic) rig.PollView {
	t.Helper()
	port, _ := proxy(t, x.d.Port(x.store, x.security), wrong...)
	settings := s.settings.With(rig.Settings{"port": port})
	if wrong[0].Type == "hang" {
		settings["timeout"], settings["command_timeout"] = silence.String(), silence.String()
	}
	s.Configure(settings)
	start := time.Now()
	view := s.Poll("wire")[0]
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tally.Faults++
	x.tally.Took(time.Since(start))
	return view
}

// settle polls over a good wire until nothing is left, and counts what came:
// each message once, whole, and nothing else.
func (x *experiment) settle(t *testing.T, s *site) {
	t.Helper()
	s.Configure(s.settings)
	for polls := 1; ; polls++ {
		view := s.Poll("wire")[0]
		if view.State != "SUCCEEDED" {
			t.Errorf("a poll over the good wire: %+v", view.Error)
		}
		if view.Outcome == "empty" || polls == 5 {
			break
		}
	}
	copies := make(map[string]int)
	for _, body := range rig.Files(t, s.Dir+"/wire") {
		copies[string(body)]++
	}
	x.mu.Lock()
	for _, m := range s.messages {
		x.tally.Count(copies[string(m)])
		if n := copies[string(m)]; n != 1 {
			t.Errorf("a message is there %d times: %q", n, m)
		}
	}
	x.mu.Unlock()
	if names, err := os.ReadDir(s.Dir + "/wire"); err != nil || len(names) != count || len(copies) != count {
		t.Errorf("%d messages and %d files are in the folder, %v", len(copies), len(names), err)
	}
	if left := x.d.Messages(t, s.user); len(left) > 0 {
		t.Errorf("%d messages are left on the server", len(left))
	}
}

// fault runs one poll over a wire with a fault, and what comes after it.
func (x *experiment) fault(t *testing.T, check func(view rig.PollView), wrong ...toxic) {
	t.Helper()
	s := x.site(t)
	view := x.through(t, s, wrong...)
	if e := view.Error; e != nil && (e.Op == "" || e.Message == "" || e.Hint == "") {
		t.Errorf("unclear: %+v", *e)
	}
	check(view)
	x.settle(t, s)
}

// measure polls over a good wire and says how many octets had passed, each
// way, when each command and each reply was through.
func (x *experiment) measure(t *testing.T) map[string][]int64 {
	t.Helper()
	s := x.site(t)
	port, meters := proxy(t, x.d.Port(x.store, x.security), toxic{Type: "meter", Stream: up}, toxic{Type: "meter", Stream: down})
	s.Configure(s.settings.With(rig.Settings{"port": port}))
	if view := s.Poll("wire")[0]; view.Messages != count {
		t.Fatalf("the poll that is measured: %+v", view)
	}
	return map[string][]int64{up: meters[0].Toxic.(*meter).read(), down: meters[1].Toxic.(*meter).read()}
}

// checker looks at what a poll came to whose wire was at fault when this share
// of it had been said.
type checker func(t *testing.T, view rig.PollView, share float64)

// each runs an experiment on every kind of session: first at the points that
// are chosen out of what was measured, and in a long run at random ones.
func each(t *testing.T, name string, points func(stream string, marks []int64, security mail.Security) []int64, make func(stream string, after int64) toxic, check checker) {
	t.Helper()
	d := mailtest.StartDovecot(t)
	for _, kind := range sessions {
		t.Run(kind.String(), func(t *testing.T) {
			x := &experiment{d: d, session: kind, tally: rig.Tally{Experiment: name + ", " + kind.String()}}
			marks := x.measure(t)
			run := func(t *testing.T, stream string, n int64) {
				share := float64(n) / float64(marks[stream][len(marks[stream])-1])
				x.fault(t, func(view rig.PollView) { check(t, view, share) }, make(stream, n))
			}
			t.Run("points", func(t *testing.T) {
				for _, stream := range []string{up, down} {
					for _, n := range points(stream, marks[stream], kind.security) {
						t.Run(fmt.Sprintf("%s after %d", stream, n), func(t *testing.T) {
							t.Parallel()
							run(t, stream, n)
						})
					}
				}
			})
			for end := time.Now().Add(rig.Torture(t) / time.Duration(len(sessions))); time.Now().Before(end) && !t.Failed(); {
				stream := []string{up, down}[rand.IntN(2)]
				n := rand.Int64N(marks[stream][len(marks[stream])-1] + 1)
				t.Run(fmt.Sprintf("%s after %d", stream, n), func(t *testing.T) { run(t, stream, n) })
			}
			x.tally.Verdict(t)
		})
	}
}

// TestCutWires ends the connection in the middle of each command and ahead of
// each reply, and in the middle of the long ones.
func TestCutWires(t *testing.T) {
	t.Parallel()
	const long = 60 // octets; a message is
	each(t, "cut wire", func(stream string, marks []int64, security mail.Security) []int64 {
		var points []int64
		step := 1
		if security != mail.NoTLS {
			step = max(1, len(marks)/4)
		}
		for i := 1; i < len(marks); i += step {
			middle := (marks[i-1] + marks[i]) / 2
			if stream == up {
				points = append(points, middle)
				continue
			}
			if points = append(points, marks[i-1]); marks[i]-marks[i-1] > long {
				points = append(points, middle)
			}
		}
		return points
	}, cut, func(t *testing.T, view rig.PollView, _ float64) {
		// One that is cut while messages are asked for together is survived: they are
		// asked for alone in another session, which has less to say.
		if view.Error == nil && view.Messages != count {
			t.Errorf("it went well, with %d messages: %+v", view.Messages, view)
		}
	})
}

// TestWiresThatHang: what hangs is given up after timeout: or command_timeout:.
func TestWiresThatHang(t *testing.T) {
	t.Parallel()
	each(t, "wire that hangs", func(_ string, marks []int64, security mail.Security) []int64 {
		all := marks[len(marks)-1]
		if security != mail.NoTLS {
			return []int64{all / 2}
		}
		return []int64{all / 3, all * 2 / 3}
	}, hang, func(t *testing.T, view rig.PollView, share float64) {
		ok := share >= over
		if e := view.Error; e != nil {
			// A server hangs up by itself behind QUIT, and the end of its stream comes through.
			ok = e.Kind == "timeout" || e.Op == "dispose" && e.Kind == "network"
		} else if view.Messages == count {
			ok = true // the job went on with a session that had less to say, and hung no more
		}
		if !ok || view.Duration > (silence+10*time.Second).Seconds() {
			t.Errorf("after %.1f s: %+v", view.Duration, view.Error)
		}
	})
}

// TestSlowWires: what is slow comes all the same.
func TestSlowWires(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, kind := range sessions {
		t.Run(kind.String(), func(t *testing.T) {
			x := &experiment{d: d, session: kind, tally: rig.Tally{Experiment: "slow wire, " + kind.String()}}
			x.fault(t, func(view rig.PollView) {
				if view.State != "SUCCEEDED" || view.Messages != count {
					t.Errorf("over a slow wire: %+v, %+v", view, view.Error)
				}
			},
				toxic{"latency", down, map[string]any{"latency": 30, "jitter": 20}},
				toxic{"bandwidth", down, map[string]any{"rate": 20}}, // KiB a second
				toxic{"slicer", down, map[string]any{"average_size": 40, "size_variation": 30, "delay": 100}},
				toxic{"slicer", up, map[string]any{"average_size": 5, "size_variation": 4, "delay": 100}},
			)
			x.tally.Verdict(t)
		})
	}
}

// TestWiresThatAreReset: the connection is refused its first octets.
func TestWiresThatAreReset(t *testing.T) {
	t.Parallel()
	each(t, "wire that is reset", func(string, []int64, mail.Security) []int64 { return []int64{0} }, func(stream string, _ int64) toxic {
		return toxic{"reset_peer", stream, map[string]any{"timeout": 0}}
	}, func(t *testing.T, view rig.PollView, _ float64) {
		if view.Error == nil || view.Error.Kind != "network" {
			t.Errorf("%+v", view.Error)
		}
	})
}
