package hostile

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// What a daemon has to do with in TestFiftyHostileServers.
const (
	hostiles    = 50
	beats       = 8                       // jobs of a healthy connection in a short run
	beat        = 2 * time.Second         // its schedule
	turns       = 4                       // sessions in which a hostile server plays the same row
	mostMemory  = 128 << 20               // octets that the daemon may have resident
	grace       = 3 * time.Second         // shutdown_grace
	bound       = grace + 2*time.Second   // in which SIGTERM has to end the daemon
	mostDelayed = 1500 * time.Millisecond // of a healthy job; measured in a long run alone
)

// everyRow is each row of this package, by store.
func everyRow() map[mail.StoreType][]row {
	return map[mail.StoreType][]row{
		mail.IMAP: slices.Concat(imapRows(), refusals(), echoes(), imapReports(), imapTold()),
		mail.POP3: slices.Concat(pop3Rows(), pop3Refusals(), pop3Echoes(), pop3Reports()),
	}
}

// rowSettings are the keys of a connection that has what the rows need: messages are
// moved where the server lets them, and filters have headers and structures fetched.
func rowSettings(store mail.StoreType, number int) rig.Settings {
	s := rig.Settings{"disposition": "DELETE", "max_messages": 0, "metadata": true}
	switch number % 5 {
	case 0:
		s["match"] = rig.Settings{"has_attachment": true}
	case 1:
		s["match"] = rig.Settings{"subject": "1"}
	case 2:
		s["disposition"], s["pull_disposition"] = disposition.Keep, "GET_LAST_MESSAGE"
	case 3:
		if store == mail.IMAP {
			delete(s, "disposition")
			s["move_to"] = "Done"
		}
	}
	return s
}

// crowd is a server that plays one row after the other, each for some sessions, with
// new messages in each session.
type crowd struct {
	store mail.StoreType
	rows  []row
	from  int // the row that it begins with
}

func (s *crowd) serve(c *mailtest.Conn) {
	turn := (c.Number - 1) / turns
	row := s.rows[(s.from+turn)%len(s.rows)]
	b := newBox(s.store)
	b.validity = uint32(1 + turn)
	for i, body := range bodies {
		b.add(fmt.Sprintf("X-Session: %d %d\r\n%s", s.from, c.Number, body))
		b.messages[i].uidl += fmt.Sprint("-", c.Number)
	}
	if row.prepare != nil {
		row.prepare(b)
	}
	b.odd = row.odd
	b.serve(c)
}

// healthy is a good server, with a new message in each session.
type healthy struct {
	*box

	mu   sync.Mutex
	jobs []time.Time
	all  int
	more chan struct{}
}

func (s *healthy) serve(c *mailtest.Conn) {
	s.box.mu.Lock()
	s.add(fmt.Sprintf("Subject: %d\r\n\r\nhealthy\r\n", c.Number))
	s.box.mu.Unlock()
	s.mu.Lock()
	s.jobs = append(s.jobs, time.Now())
	s.all = c.Number
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	s.box.serve(c)
}

// delayed is the longest that a job began behind its schedule.
func (s *healthy) delayed() (most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range len(s.jobs) - 1 {
		most = max(most, s.jobs[i+1].Sub(s.jobs[i])-beat)
	}
	return most
}

// TestFiftyHostileServers: a daemon that polls fifty servers, which play every row of
// this package in turn, polls two healthy ones as if they were alone, stays small, and
// ends when it is told to. make torture does it for long, and measures the time.
func TestFiftyHostileServers(t *testing.T) {
	t.Parallel()
	every := everyRow()
	var connections []rig.Settings
	settings := func(name string, store mail.StoreType, server *mailtest.Scripted) rig.Settings {
		return rig.Settings{
			"name": name, "host": mailtest.Host, "port": server.Port, "username": user, "password": canary,
			"store_type": store, "connection_security": "NONE", "auth": "LOGIN",
		}
	}
	var servers []*mailtest.Scripted
	for i := range hostiles {
		store := []mail.StoreType{mail.IMAP, mail.POP3}[i%2]
		s := &crowd{store: store, rows: every[store], from: i / 2 * len(every[store]) / (hostiles / 2)}
		server := mailtest.Script(t, s.serve)
		servers = append(servers, server)
		connections = append(connections, settings(fmt.Sprint("hostile-", i), store, server).With(rowSettings(store, i/2)).With(rig.Settings{
			"schedule": "@every 1s", "back_off": "DISABLED", "timeout": "1s", "poll_timeout": "10s",
		}))
	}
	var good []*healthy
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		s := &healthy{box: newBox(store), more: make(chan struct{}, 1)}
		good = append(good, s)
		connections = append(connections, settings("healthy-"+string(store), store, mailtest.Script(t, s.serve)).With(rig.Settings{
			"schedule": "@every " + beat.String(), "disposition": "DELETE", "max_messages": 0,
		}))
	}
	site := rig.New(t, connections...)
	site.Top = rig.Settings{"limits": rig.Settings{"polls_per_host": 64}, "shutdown_grace": grace.String()}
	site.Configure(connections...)
	daemon := site.Start().Ready()
	began := time.Now()
	for n, length := 0, rig.Torture(t); n < beats || time.Since(began) < length; n++ {
		for _, s := range good {
			select {
			case <-s.more:
			case <-daemon.Done:
				t.Fatal("the daemon ended")
			case <-time.After(rig.Patience):
				t.Fatalf("%s is not polled", s.store)
			}
		}
	}
	tally := &rig.Tally{Experiment: "fifty hostile servers", Peak: peak(t, daemon.Cmd.Process.Pid)}
	told := time.Now()
	daemon.Stop()
	ended := time.Since(told)
	if tally.Peak > mostMemory {
		t.Errorf("the daemon took %d MiB", tally.Peak>>20)
	}
	for _, server := range servers {
		tally.Faults += server.Connections()
	}
	log, _ := daemon.Log.From(0)
	for i, s := range good {
		s.judge(t, tally, connections[hostiles+i]["folder"].(string), log)
		tally.Took(s.delayed())
	}
	t.Logf("%d sessions with hostile servers; a healthy job was %v late at most; %v to the end; %d MiB", tally.Faults, tally.Longest, ended, tally.Peak>>20)
	if rig.Torture(t) > 0 && (tally.Longest > mostDelayed || ended > bound) {
		t.Errorf("a healthy job was %v late, and the daemon took %v to end", tally.Longest, ended)
	}
	tally.Verdict(t)
}

// judge counts the messages of a healthy server, of whose jobs none may have failed.
func (s *healthy) judge(t *testing.T, tally *rig.Tally, folder, log string) {
	t.Helper()
	found := make(map[string]int)
	for _, body := range rig.Files(t, folder) {
		found[string(body)]++
	}
	left, _ := s.bodies()
	for n := range s.all {
		body := fmt.Sprintf("Subject: %d\r\n\r\nhealthy\r\n", n+1)
		if slices.Contains(left, body) && found[body] == 0 {
			continue // SIGTERM came first
		}
		tally.Count(found[body])
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"connection":"healthy-`+string(s.store)+`"`) && regexp.MustCompile(`"level":"(warn|error)"`).MatchString(line) {
			t.Errorf("a job of a healthy server: %s", line)
		}
	}
}

// peak is the most memory that a process ever had resident, in octets.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no peak in %s", status)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
