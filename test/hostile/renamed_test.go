package hostile

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/schedule"
)

// renumber gives the messages of a box new UIDs in another order, as a server
// does that lost its index.
func renumber(validity uint32) func(*box) {
	return func(b *box) {
		slices.Reverse(b.messages)
		for i, m := range b.messages {
			m.uid = uint32(i) + 1
		}
		b.validity = validity
	}
}

// once checks that a poll went well and that these messages are there, once.
func (r *bench) once(result mail.Result, want ...string) {
	r.t.Helper()
	if result.Err != nil {
		r.t.Errorf("failed: %v", result.Err)
	}
	slices.Sort(want)
	if got := r.delivered(); !slices.Equal(got, want) {
		r.t.Errorf("delivered: %q", got)
	}
}

// TestUIDVALIDITYChangesBetweenPolls: what was saved is known by its digest,
// whatever its UID is now, and what is new comes.
func TestUIDVALIDITYChangesBetweenPolls(t *testing.T) {
	t.Parallel()
	for _, dispose := range []disposition.Disposition{disposition.Keep, disposition.Seen} {
		t.Run(string(dispose), func(t *testing.T) {
			t.Parallel()
			b := newBox(mail.IMAP, bodies...)
			r := newBench(t, b)
			r.c.Dispose = dispose
			r.once(r.poll(), bodies...)
			b.mu.Lock()
			renumber(8)(b)
			for _, m := range b.messages {
				m.seen = false // the flags are lost too
			}
			b.add("Subject: new\r\n\r\nnew\r\n")
			b.mu.Unlock()
			r.once(r.poll(), append(slices.Clone(bodies), "Subject: new\r\n\r\nnew\r\n")...)
			r.once(r.poll(), append(slices.Clone(bodies), "Subject: new\r\n\r\nnew\r\n")...)
		})
	}
}

// TestUIDVALIDITYChangesBeforeADeletion: the poll that saved messages was cut
// off before it removed them. Their UIDs are void in the mailbox that the next
// one finds: none is deleted for its number, and each is delivered once.
func TestUIDVALIDITYChangesBeforeADeletion(t *testing.T) {
	t.Parallel()
	b := newBox(mail.IMAP, bodies...)
	b.odd = on(store, "", cut)
	r := newBench(t, b)
	if result := r.poll(); result.Err == nil || result.Messages != 3 {
		t.Errorf("the poll that is cut off: %+v", result)
	}
	b.mend()
	b.mu.Lock()
	b.remove(3)
	b.add("Subject: 4\r\n\r\nanother\r\n") // it gets UID 3
	renumber(8)(b)
	b.mu.Unlock()
	r.once(r.poll(), append(slices.Clone(bodies), "Subject: 4\r\n\r\nanother\r\n")...)
	if held, _ := b.bodies(); len(held) > 0 {
		t.Errorf("left on the server: %q", held)
	}
}

// TestUIDVALIDITYChangesWithinASession: the server renumbers its messages
// while they are fetched. Nothing is deleted by its old number.
func TestUIDVALIDITYChangesWithinASession(t *testing.T) {
	t.Parallel()
	b := newBox(mail.IMAP, bodies...)
	b.odd = before(` UID FETCH 1 .*PEEK`, func(b *box) {
		b.add("Subject: 4\r\n\r\nanother\r\n")
		b.odd = before(`STATUS|STORE`, renumber(8))
	})
	r := newBench(t, b)
	r.c.MaxMessages = 1
	if result := r.poll(); result.Err == nil || result.Err.Op != mail.OpDispose || !strings.Contains(result.Err.Error(), "UIDVALIDITY") {
		t.Errorf("the poll during which it changes: %v", result.Err)
	}
	b.mend()
	r.c.MaxMessages = 0
	r.once(r.poll(), append(slices.Clone(bodies), "Subject: 4\r\n\r\nanother\r\n")...)
	if held, _ := b.bodies(); len(held) > 0 {
		t.Errorf("left on the server: %q", held)
	}
}

// TestAUIDThatIsUsedAgain: between saving and deleting a message its UID
// becomes that of another one, which is not deleted for it.
func TestAUIDThatIsUsedAgain(t *testing.T) {
	t.Parallel()
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			b := newBox(store, bodies[0])
			b.odd = on(` UID STORE |^QUIT`, "", cut)
			r := newBench(t, b)
			if result := r.poll(); result.Err == nil || result.Messages != 1 {
				t.Errorf("the poll that is cut off: %+v", result)
			}
			b.mend()
			b.mu.Lock()
			b.remove(1)
			b.add("Subject: 2\r\n\r\nanother that is larger\r\n")
			b.mu.Unlock()
			r.once(r.poll(), bodies[0], "Subject: 2\r\n\r\nanother that is larger\r\n")
			if held, _ := b.bodies(); len(held) > 0 {
				t.Errorf("left on the server: %q", held)
			}
		})
	}
}

// TestUniqueIDsThatAllChange: a POP3 server renames its messages, and those
// that were saved are known by their digest.
func TestUniqueIDsThatAllChange(t *testing.T) {
	t.Parallel()
	b := newBox(mail.POP3, bodies...)
	r := newBench(t, b)
	r.c.Dispose = disposition.Keep
	r.once(r.poll(), bodies...)
	b.mu.Lock()
	for _, m := range b.messages {
		m.uidl = "new-" + m.uidl
	}
	b.mu.Unlock()
	r.once(r.poll(), bodies...)
}

// TestAHostileServerStopsNoOther: in one scheduler and one engine, servers
// that flood, drip and hang are polled side by side with a good one, which is
// delivered before any of them is given up.
func TestAHostileServerStopsNoOther(t *testing.T) {
	t.Parallel()
	good := newBench(t, newBox(mail.IMAP, bodies...))
	good.c.Name, good.c.Folder, good.c.Enabled = "good", t.TempDir(), true
	connections := []mail.Connection{*good.c}
	met := make(chan struct{}, 3)
	for name, o := range map[string]odd{
		"hangs": on("^$", "", stall), "drips": on("^$", "", drip),
		"hangs later": on(fetch1, "* 1 FETCH (UID 1 BODY[] {5368709120}\r\n", stall),
	} {
		b := newBox(mail.IMAP, bodies...)
		b.odd = all(before("^$", func(*box) { met <- struct{}{} }), o)
		c := *good.c
		c.Name, c.Folder, c.Port = name, t.TempDir(), mailtest.Script(t, b.serve).Port
		c.Timeout, c.PollTimeout = tooLong, 2*tooLong
		connections = append(connections, c)
	}
	for i := range connections {
		connections[i].Schedule = "@every 1h"
	}
	s := schedule.New(schedule.Options{Polls: 4, PollsPerHost: 4, Log: zap.NewNop(), Run: func(ctx context.Context, c *mail.Connection, _ error) mail.Result {
		return good.Poll(ctx, c)
	}})
	s.Update(connections)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan mail.Result)
	running := make(chan error)
	go func() { running <- s.Run(ctx) }()
	for _, c := range connections[1:] {
		go func() {
			result, _ := s.PollNow(ctx, c.Name)
			ended <- result
		}()
	}
	for range connections[1:] {
		<-met
	}
	for range 3 {
		result, err := s.PollNow(ctx, "good")
		if err != nil || result.State != mail.Succeeded {
			t.Errorf("%+v, %v", result.Err, err)
		}
	}
	good.c = &connections[0]
	good.once(mail.Result{}, bodies...)
	cancel()
	for range connections[1:] {
		if result := <-ended; result.State == mail.Succeeded {
			t.Errorf("%s: %+v", result.Connection, result)
		}
	}
	if err := <-running; err != nil {
		t.Error(err)
	}
}
