// Package hostile polls servers that are odd, broken or hostile with the real
// opener, engine, folder and state store: one row for each. Whatever a server
// does, the poll ends in time and in bounded memory, says what is wrong and
// what to do, prints no secret, and once the server is mended each message is
// there, once.
//
// Rows that need no more than a session stand beside it, in internal/mailbox:
// a greeting that never comes, is BYE, -ERR, something else or has no end, no
// answer to LOGIN (starttls_test.go); octets sent ahead of TLS and PREAUTH
// under STARTTLS (same); replies to one FETCH or RETR (hostile_test.go); ways to
// log in that do not work (fallback_test.go). The others stand here: those of IMAP
// in imap_test.go, of POP3 in pop3_test.go, and what servers of the field were seen
// to do in field_test.go. A row of season_test.go lasts for several jobs: servers
// that have a bad day (badday_test.go), and that do not do what they say
// (proof_test.go).
package hostile

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mailpoller/internal/auth"
	"mailpoller/internal/disposition"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/poll"
	"mailpoller/internal/state"
	"mailpoller/test/rig"
)

// built runs the tests once the program is built.
type built struct{ *testing.M }

func (m built) Run() int { return rig.Main(m.M) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(built{m}) }

const (
	user   = "somebody"
	canary = "canary-7f3a"
)

// spellings are the ways in which the canary could get out.
var spellings = []string{
	canary,
	base64.StdEncoding.EncodeToString([]byte(canary)),
	base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + canary)),
}

// row is one odd server.
type row struct {
	name    string
	odd     odd
	prepare func(*box)             // the mailbox, unless nil
	with    func(*mail.Connection) // the connection, unless nil
	flood   bool                   // memory is measured

	op    string // of the failure; the poll succeeds when it is empty
	kind  mail.Kind
	says  string // a part of the error
	hint  string // a part of the hint
	warns string // a part of a warning
	never string // what the server must not be told while it is odd
	leads string // what the hint must not speak of: it leads astray
	saved int    // messages that are delivered all the same

	gone int // messages that somebody else removed
}

const (
	silence  = 400 * time.Millisecond // timeout: of a row
	attempt  = 3 * time.Second        // poll_timeout: of a row
	tooLong  = 20 * time.Second       // poll_timeout: of a row that floods, which a busy machine needs time to read
	tooLarge = 32 << 20               // octets that a poll may allocate while it is flooded
)

var bodies = []string{"Subject: 1\r\n\r\nfirst\r\n", "Subject: 2\r\n\r\n.second\r\n", "Subject: 3\r\n\r\nthe third\r\n"}

// bench is a poller with a folder and a state of its own, on one server.
type bench struct {
	t *testing.T
	*box
	server *mailtest.Scripted
	c      *mail.Connection
	state  string
	log    *log
	taken  []string // what a consumer took out of the folder
	poll.Poller
}

// log is what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) Sync() error { return nil }

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newBench makes a poller as the daemon does, for a connection that takes all
// there is and removes it.
func newBench(t *testing.T, b *box) *bench {
	t.Helper()
	r := &bench{t: t, box: b, server: mailtest.Script(t, b.serve), state: t.TempDir(), log: &log{}}
	r.c = mailtest.Connection(t, mailtest.NewCA(t), b.store, mail.NoTLS, r.server.Port, user, canary)
	r.c.Timeout, r.c.PollTimeout = silence, attempt
	r.c.MaxMessages, r.c.Dispose = 0, disposition.Delete
	store, err := state.Open(t.Context(), r.state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), r.log, zap.DebugLevel))
	opener := &mailbox.Opener{Secrets: auth.NewSecrets(), Log: logger}
	r.Poller = poll.Poller{
		Opener: poll.OpenFunc(func(ctx context.Context, c *mail.Connection) (poll.Session, error) {
			session, err := opener.Open(ctx, c)
			if err != nil {
				return nil, err
			}
			return session, nil
		}),
		Folder:   folder.Bound(folder.New(store.Instance())),
		Removals: &poll.Removals{},
		Journal:  store,
		Grace:    func() time.Duration { return time.Second },
		Log:      logger,
	}
	return r
}

// poll polls once and checks what holds whatever the server does.
func (r *bench) poll() mail.Result {
	r.t.Helper()
	steps := ""
	ctx := mail.WithTrace(r.t.Context(), &mail.Trace{Step: func(s mail.Step) { steps += fmt.Sprintln(s.Name, s.Detail, s.Err) }})
	start := time.Now()
	result := r.Poll(ctx, r.c)
	if took := time.Since(start); took > 2*tooLong {
		r.t.Errorf("the poll took %v", took)
	}
	if e := result.Err; e != nil {
		if e.Hint == "" {
			r.t.Errorf("no hint: %+v", e)
		}
		if text := e.Error() + e.Hint; len(text) > 2000 || strings.ContainsAny(text, "\x00\x1b\r\n") {
			r.t.Errorf("not fit to be shown: %.3000q", text)
		}
	}
	r.discreet(result, steps)
	delivered := r.delivered()
	_, touched := r.bodies()
	for _, body := range touched {
		if !slices.Contains(delivered, body) {
			r.t.Errorf("marked or removed, and not delivered: %q", body)
		}
	}
	return result
}

// discreet fails the test when the canary got out.
func (r *bench) discreet(result mail.Result, steps string) {
	r.t.Helper()
	text, err := json.Marshal(result)
	if err != nil {
		r.t.Fatal(err)
	}
	places := map[string]string{"the log": r.log.String(), "the result": string(text), "the trace": steps}
	if result.Err != nil {
		places["the error"] = result.Err.Error() + result.Err.Hint
	}
	for _, dir := range []string{r.state, r.c.Folder} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			places[path] = path
			if err == nil && dir == r.state && d.Type().IsRegular() {
				data, err := os.ReadFile(path)
				places[path] += string(data)
				return err
			}
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	for place, text := range places {
		for _, spelling := range spellings {
			if i := strings.Index(text, spelling); i >= 0 {
				r.t.Errorf("%s shows the password: %q", place, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}

// files are the octets of the messages in the folder, by path. There must be no
// others than messages, and their descriptions where these are wanted.
func (r *bench) files() map[string]string {
	r.t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(r.c.Folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		switch dir := filepath.Base(filepath.Dir(path)); {
		case err != nil:
			return err
		case r.c.Format == mail.Maildir && dir == "new", r.c.Format != mail.Maildir && strings.HasSuffix(path, ".eml") && !strings.HasPrefix(d.Name(), "."):
			found[path] = string(data)
		case !r.c.Metadata || !strings.HasSuffix(path, ".json"):
			r.t.Errorf("%s is in the folder: %.200q", path, data)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// delivered are the octets of the messages that were delivered so far, sorted.
func (r *bench) delivered() []string {
	r.t.Helper()
	return slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(r.taken), maps.Values(r.files()))))
}

// take is what a consumer does: it takes the messages out of the folder.
func (r *bench) take() {
	r.t.Helper()
	for path, body := range r.files() {
		r.taken = append(r.taken, body)
		if err := os.Remove(path); err != nil {
			r.t.Fatal(err)
		}
	}
}

// play runs one row.
func play(t *testing.T, store mail.StoreType, row row) {
	t.Helper()
	b := newBox(store, bodies...)
	if row.prepare != nil {
		row.prepare(b)
	}
	before, _ := b.bodies()
	b.odd = row.odd
	r := newBench(t, b)
	if row.flood {
		r.c.PollTimeout = tooLong
	}
	if row.with != nil {
		row.with(r.c)
	}
	allocated := allocations()
	result := r.poll()
	if n := allocations() - allocated; row.flood && n > tooLarge {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	r.judge(row, result)
	if row.never != "" {
		for _, line := range r.server.Lines() {
			if regexp.MustCompile("(?i)" + row.never).MatchString(line) {
				t.Errorf("the server was told %q", line)
			}
		}
	}

	// The server is mended: what is left of the messages comes, once.
	b.mend()
	r.c.MaxMessages = 0
	r.poll()
	if result := r.poll(); result.State != mail.Succeeded || result.Messages != 0 {
		t.Errorf("a poll of the mended server: %+v, %v", result, result.Err)
	}
	delivered := r.delivered()
	want := slices.Clone(before)
	held, _ := b.bodies()
	if r.c.Dispose == disposition.Delete && len(held) > 0 {
		t.Errorf("left on the server: %q", held)
	}
	if row.gone > 0 { // which ones is for the row to say
		want = slices.DeleteFunc(want, func(body string) bool { return !slices.Contains(delivered, body) })
		if len(before)-len(want) != row.gone {
			t.Errorf("%d messages are gone, not %d", len(before)-len(want), row.gone)
		}
	}
	slices.Sort(want)
	if !slices.Equal(delivered, want) {
		t.Errorf("delivered: %q", delivered)
	}
}

// judge compares a result with what the row says.
func (r *bench) judge(row row, result mail.Result) {
	r.t.Helper()
	if n := len(r.delivered()); n != row.saved || result.Messages != row.saved {
		r.t.Errorf("%d messages were delivered, %d of them are told of, not %d", n, result.Messages, row.saved)
	}
	if row.warns != "" && !strings.Contains(strings.Join(result.Warnings, "\n"), row.warns) {
		r.t.Errorf("warnings: %q, not %q", result.Warnings, row.warns)
	}
	e := result.Err
	if e != nil && row.leads != "" && strings.Contains(e.Hint, row.leads) {
		r.t.Errorf("the hint leads astray: %q", e.Hint)
	}
	switch {
	case row.op == "" && e != nil:
		r.t.Errorf("failed: %v", e)
	case row.op != "" && e == nil:
		r.t.Errorf("succeeded: %+v", result)
	case row.op != "" && (e.Op != row.op || e.Kind != row.kind || !strings.Contains(e.Error(), row.says) || !strings.Contains(e.Hint, row.hint)):
		r.t.Errorf("%q of kind %s, hint %q; not %s of kind %s, %q, hint %q", e, e.Kind, e.Hint, row.op, row.kind, row.says, row.hint)
	}
}

// allocations are the octets that were ever allocated.
func allocations() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// playAll runs the rows: first, one after the other, those that measure
// memory; then the others, all at once.
func playAll(t *testing.T, store mail.StoreType, rows []row) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if !row.flood {
				t.Parallel()
			}
			play(t, store, row)
		})
	}
}
