package poll

import (
	"fmt"
	"strings"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// mailbox fills a server with one message per digit. What stands behind a +
// in the order is read.
func (r *rig) mailbox(order string) {
	for i, digit := range order {
		if digit == '+' {
			continue
		}
		l := r.add(uint32(digit-'0'), string(digit))
		l.seen = strings.HasPrefix(order[i+1:], "+")
	}
}

var (
	everyDisposition = disposition.Dispositions()
	staying          = []disposition.Disposition{disposition.Keep, disposition.Seen}
	deleting         = []disposition.Disposition{disposition.Delete}
	everyStore       = []mail.StoreType{mail.IMAP, mail.POP3}
)

// TestWhatAPollTakes is the table of the dispositions: which messages three
// polls take, in which order, out of the mailbox 1+ 2 3+ 4 5 6 7+, of which
// those with a + are read. "=" is unchanged, "-" is empty.
func TestWhatAPollTakes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		stores   []mail.StoreType
		pull     string
		disposes []disposition.Disposition
		polls    map[int]string // by max_messages
	}{
		{everyStore, "GET_FIRST_MESSAGE", staying, map[int]string{1: "1 = =", 5: "12345 = =", 0: "1234567 = ="}},
		{everyStore, "GET_FIRST_MESSAGE", deleting, map[int]string{1: "1 2 3", 5: "12345 67 -", 0: "1234567 - -"}},
		{everyStore, "GET_LAST_MESSAGE", staying, map[int]string{1: "7 = =", 5: "76543 = =", 0: "7654321 = ="}},
		{everyStore, "GET_LAST_MESSAGE", deleting, map[int]string{1: "7 6 5", 5: "76543 21 -", 0: "7654321 - -"}},
		{[]mail.StoreType{mail.IMAP}, "GET_FIRST_UNREAD_MESSAGE", everyDisposition, map[int]string{1: "2 4 5", 3: "245 6 -", 5: "2456 - -", 0: "2456 - -"}},
		{[]mail.StoreType{mail.IMAP}, "GET_LAST_UNREAD_MESSAGE", everyDisposition, map[int]string{1: "6 5 4", 3: "654 2 -", 5: "6542 - -", 0: "6542 - -"}},
		{[]mail.StoreType{mail.POP3}, "GET_FIRST_UNREAD_MESSAGE", everyDisposition, map[int]string{1: "1 2 3", 5: "12345 67 -", 0: "1234567 - -"}},
		{[]mail.StoreType{mail.POP3}, "GET_LAST_UNREAD_MESSAGE", everyDisposition, map[int]string{1: "7 6 5", 5: "76543 21 -", 0: "7654321 - -"}},
	} {
		for _, store := range row.stores {
			for _, dispose := range row.disposes {
				for limit, polls := range row.polls {
					t.Run(fmt.Sprint(store, row.pull, dispose, limit), func(t *testing.T) {
						t.Parallel()
						r := newRig(t, store, dispose)
						pull, err := disposition.ParsePull(row.pull)
						r.ok(err)
						r.c.Pull, r.c.MaxMessages = pull, limit
						r.mailbox("1+23+4567+")
						r.takes(polls)
					})
				}
			}
		}
	}
}

// takes runs polls and checks what each takes, and what becomes of the server.
func (r *rig) takes(polls string) {
	r.t.Helper()
	want := make([]string, len(r.letters))
	taken := strings.Map(func(digit rune) rune {
		if digit == '=' || digit == '-' || digit == ' ' {
			return -1
		}
		return digit
	}, polls)
	for i, l := range r.letters {
		want[i] = l.text
		if l.seen || r.c.Dispose == disposition.Seen && r.c.Store == mail.IMAP && strings.Contains(taken, l.text) {
			want[i] += "+"
		}
	}
	if r.c.Dispose == disposition.Delete {
		var stay []string
		for i, l := range r.letters {
			if !strings.Contains(taken, l.text) {
				stay = append(stay, want[i])
			}
		}
		want = stay
	}
	for poll := range strings.FieldsSeq(polls) {
		switch poll {
		case "=":
			r.poll(mail.OutcomeUnchanged)
		case "-":
			r.poll(mail.OutcomeEmpty)
		default:
			result := r.poll(mail.OutcomeSaved)
			r.same("files", strings.Split(poll, ""), strings.Fields(r.text(result.Files...)))
			if n := len(poll); result.Messages != n || result.Disposed != n || result.Bytes != int64(n) || result.State != mail.Succeeded {
				r.t.Errorf("the result of taking %s is %+v", poll, result)
			}
		}
	}
	r.delivered(strings.Split(taken, "")...)
	r.left(want...)
	for text, n := range r.fetched {
		if n != 1 {
			r.t.Errorf("message %s was fetched %d times", text, n)
		}
	}
}

func TestALargeMailboxIsDrainedInBatches(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			var want []string
			for uid := range uint32(700) {
				l := r.add(uid+1, fmt.Sprintf("message-%d", uid+1))
				want = append(want, l.text)
			}
			result := r.poll(mail.OutcomeSaved)
			r.same("saved together", []int{512, 188}, r.saves)
			r.same("order", want, strings.Fields(r.text(result.Files...)))
			r.delivered(want...)
			r.left()
			if r.opened != 1 {
				t.Errorf("%d sessions were needed", r.opened)
			}
		})
	}
}

// TestABatchIsBoundedInOctets: what is fetched before it is recorded is no
// more than about 16 MiB, but always one message.
func TestABatchIsBoundedInOctets(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	for uid, size := range []int64{30 << 20, 10 << 20, 5 << 20, 5 << 20, 1} {
		r.add(uint32(uid+1), fmt.Sprint(uid+1)).size = size
	}
	r.poll(mail.OutcomeSaved)
	r.same("saved together", []int{1, 2, 2}, r.saves)
}

// TestTheDispositionIsChangedInTheConfiguration: what was saved under KEEP is
// not fetched again. A pull by position puts the new disposition in force for
// it, and goes on; one of unread messages leaves it alone.
func TestTheDispositionIsChangedInTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		store   mail.StoreType
		pull    string
		limit   int
		dispose disposition.Disposition
		outcome mail.Outcome // of the first poll after the change
		saved   string
		left    string
	}{
		{mail.IMAP, "GET_FIRST_MESSAGE", 0, disposition.Delete, mail.OutcomeSaved, "4", ""},
		{mail.POP3, "GET_FIRST_MESSAGE", 0, disposition.Delete, mail.OutcomeSaved, "4", ""},
		{mail.IMAP, "GET_LAST_MESSAGE", 0, disposition.Delete, mail.OutcomeSaved, "4", ""},
		{mail.IMAP, "GET_FIRST_MESSAGE", 1, disposition.Delete, mail.OutcomeSaved, "4", ""},
		{mail.POP3, "GET_FIRST_MESSAGE", 1, disposition.Delete, mail.OutcomeSaved, "4", ""},
		{mail.IMAP, "GET_FIRST_MESSAGE", 0, disposition.Seen, mail.OutcomeSaved, "4", "1+ 2+ 3+ 4+"},
		{mail.POP3, "GET_FIRST_MESSAGE", 0, disposition.Seen, mail.OutcomeSaved, "4", "1 2 3 4"},
		{mail.IMAP, "GET_FIRST_MESSAGE", 3, disposition.Seen, mail.OutcomeSaved, "4", "1+ 2+ 3+ 4+"},
		{mail.IMAP, "GET_FIRST_UNREAD_MESSAGE", 0, disposition.Delete, mail.OutcomeSaved, "4", "1 2 3"},
		{mail.POP3, "GET_LAST_UNREAD_MESSAGE", 0, disposition.Delete, mail.OutcomeSaved, "4", "1 2 3"},
		{mail.IMAP, "GET_LAST_UNREAD_MESSAGE", 0, disposition.Seen, mail.OutcomeSaved, "4", "1 2 3 4+"},
	} {
		t.Run(fmt.Sprint(row.store, row.pull, row.limit, row.dispose), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, row.store, disposition.Keep)
			pull, err := disposition.ParsePull(row.pull)
			r.ok(err)
			r.c.Pull = pull
			r.mailbox("123")
			r.poll(mail.OutcomeSaved)
			r.mailbox("4")
			r.c.Dispose, r.c.MaxMessages = row.dispose, row.limit
			result := r.poll(row.outcome)
			r.same("saved", row.saved, r.text(result.Files...))
			r.left(strings.Fields(row.left)...)
			for text, n := range r.fetched {
				if n != 1 {
					t.Errorf("message %s was fetched %d times", text, n)
				}
			}
			if row.left == "" {
				r.poll(mail.OutcomeEmpty)
			}
		})
	}
}

// TestAMessageThatIsReadIsKeptAsWell: from SEEN to KEEP nothing is to be done.
func TestAMessageThatIsReadIsKeptAsWell(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Seen)
	r.mailbox("12")
	r.poll(mail.OutcomeSaved)
	r.c.Dispose = disposition.Keep
	r.poll(mail.OutcomeUnchanged)
	r.left("1+", "2+")
	r.delivered("1", "2")
}
