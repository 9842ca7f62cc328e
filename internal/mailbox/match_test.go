package mailbox

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/match"
)

// sample is a message as it was made, and so what is true of it.
type sample struct {
	from, to, subject, kind string // as a reader sees them; no kind, no field
	received                time.Time
	flagged, attachment     bool
	raw                     []byte
}

// written are texts, and how a header writes them.
var written = map[string]string{
	"Zürich": "=?utf-8?b?WsO8cmljaA==?=", "Jörg": "=?iso-8859-1?q?J=F6rg?=",
	"Invoice 7": "Invoice 7", "RECHNUNG": "RECHNUNG", "plan": "=?us-ascii?q?plan?=",
}

var (
	senders  = []string{"Alice <alice@example.com>", "Jörg <joerg@example.org>", "bob@example.com"}
	subjects = []string{"Invoice 7", "RECHNUNG", "Zürich", "plan"}
	kinds    = []string{"", "", "daily", "weekly report"}
)

func among[T any](rnd *rand.Rand, all []T) T { return all[rnd.IntN(len(all))] }

// header is a text as a header writes it.
func header(text string) string {
	name, address, _ := strings.Cut(text, " <")
	if w, ok := written[text]; ok {
		return w
	}
	if w, ok := written[name]; ok {
		return w + " <" + address
	}
	return text
}

func newSample(rnd *rand.Rand, number int, now time.Time) sample {
	s := sample{
		from: among(rnd, senders), to: among(rnd, senders), subject: among(rnd, subjects), kind: among(rnd, kinds),
		received: now.AddDate(0, 0, -rnd.IntN(10)), flagged: rnd.IntN(4) == 0, attachment: rnd.IntN(3) == 0,
	}
	if s.flagged {
		s.received = now
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "X-Number: %d\r\nFROM: %s\r\nto:\r\n %s\r\n", number, header(s.from), header(s.to))
	fmt.Fprintf(&b, "Subject: Re:\r\n\t%s\r\nDate: %s\r\nMIME-Version: 1.0\r\n", header(s.subject), s.received.Format(time.RFC1123Z))
	if s.kind != "" {
		fmt.Fprintf(&b, "X-Kind: %s\r\n", s.kind)
	}
	text := strings.Repeat("x", rnd.IntN(900))
	switch {
	case s.attachment:
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx\r\n--b--\r\n", text)
	case rnd.IntN(2) == 0:
		fmt.Fprintf(&b, "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b--\r\n", text)
	default:
		fmt.Fprintf(&b, "\r\n%s\r\n", text)
	}
	s.raw = b.Bytes()
	return s
}

// anyFilter makes up a filter.
func anyFilter(rnd *rand.Rand, depth int, flags bool, now time.Time) match.Filter {
	texts := func(all ...string) (some []string) {
		for range 1 + rnd.IntN(2) {
			some = append(some, among(rnd, all))
		}
		return some
	}
	var f match.Filter
	for range 1 + rnd.IntN(2) {
		switch n := rnd.IntN(11); {
		case n == 0:
			f.From = texts("ALICE", "jÖRG", "example.com", "nobody")
		case n == 1:
			f.To = texts("bob@", "alice@example.com", "jörg")
		case n == 2:
			f.Subject = texts("invoice", "rechnung", "ZÜRICH", "re:", "plan", `"`)
		case n == 3:
			f.Header = []match.Header{{Name: "x-kind", Texts: texts("", "DAILY", "weekly r")}}
		case n == 4:
			f.Larger = 300 + rnd.Int64N(900)
		case n == 5:
			f.Smaller = 300 + rnd.Int64N(900)
		case n == 6 && rnd.IntN(2) == 0:
			f.Since.Ago = time.Duration(1+rnd.IntN(9)) * 24 * time.Hour
		case n == 6:
			f.Since.Day = now.AddDate(0, 0, -rnd.IntN(9)).Truncate(24 * time.Hour)
		case n == 7:
			f.HasAttachment = new(rnd.IntN(2) == 0)
		case n == 8 && flags:
			f.Flagged = new(rnd.IntN(2) == 0)
		case depth == match.MaxDepth:
			f.From = texts("alice")
		case n == 9:
			f.Not = new(anyFilter(rnd, depth+1, flags, now))
		default:
			for range 1 + rnd.IntN(3) {
				f.Any = append(f.Any, anyFilter(rnd, depth+1, flags, now))
			}
		}
	}
	return f
}

// wants is what a filter says of a message, read the way it is documented.
func wants(f *match.Filter, s sample, now time.Time) bool {
	has := func(value string, texts []string) bool {
		return len(texts) == 0 || slices.ContainsFunc(texts, func(text string) bool {
			return strings.Contains(strings.ToLower(value), strings.ToLower(text))
		})
	}
	size := int64(len(s.raw))
	ok := has(s.from, f.From) && has(s.to, f.To) && has("Re: "+s.subject, f.Subject)
	for _, h := range f.Header {
		ok = ok && s.kind != "" && has(s.kind, h.Texts)
	}
	since := f.Since.Day
	if f.Since.Ago > 0 {
		since = now.Add(-f.Since.Ago - 12*time.Hour).Truncate(24 * time.Hour)
	}
	ok = ok && (f.Larger == 0 || size > f.Larger) && (f.Smaller == 0 || size < f.Smaller) && !s.received.Truncate(24*time.Hour).Before(since)
	ok = ok && (f.HasAttachment == nil || *f.HasAttachment == s.attachment) && (f.Flagged == nil || *f.Flagged == s.flagged)
	ok = ok && (f.Not == nil || !wants(f.Not, s, now))
	return ok && (len(f.Any) == 0 || slices.ContainsFunc(f.Any, func(any match.Filter) bool { return wants(&any, s, now) }))
}

// deliverSamples fills a mailbox, and returns the samples in its order.
func deliverSamples(t *testing.T, d *mailtest.Dovecot, user string, count int, now time.Time) []sample {
	t.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	samples := make([]sample, count)
	for i := range samples {
		samples[i] = newSample(rnd, i, now)
		if samples[i].flagged {
			d.DeliverFlagged(t, user, []string{`\Flagged`}, samples[i].raw)
			continue
		}
		file := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(file, samples[i].raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, samples[i].received, samples[i].received); err != nil {
			t.Fatal(err)
		}
		d.DeliverFiles(t, user, file)
	}
	s := open(t, d.Connection(t, user, mail.IMAP, mail.NoTLS))
	var inOrder []sample
	for _, raw := range fetch(t, s, pick(t, s, mail.Query{})) {
		number, _, _ := bytes.Cut(raw[len("X-Number: "):], []byte("\r\n"))
		n, err := strconv.Atoi(string(number))
		if err != nil {
			t.Fatal(err)
		}
		inOrder = append(inOrder, samples[n])
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return inOrder
}

// TestMatchIsTheSameEverywhere has servers and sessions pick by filters that are
// made up, and compares it with what the filters say.
func TestMatchIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"ESEARCH":    {"mail_max_userip_connections = 100"},
		"no ESEARCH": {"imap_capability = IMAP4rev1 IDLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Now().UTC()
			d := mailtest.StartDovecot(t, settings...)
			user := d.NewUser(t)
			samples := deliverSamples(t, d, user, 700, now)
			for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
				rnd := rand.New(rand.NewPCG(5, 6))
				o := opener() // one, so that what it remembers counts
				for range 60 {
					f := anyFilter(rnd, 1, store == mail.IMAP, now)
					c := d.Connection(t, user, store, mail.NoTLS)
					c.Match = &f
					s, err := o.Open(t.Context(), c)
					if err != nil {
						t.Fatal(err)
					}
					for _, q := range []mail.Query{{}, {Limit: 1}, {Limit: 20, Pull: disposition.Pull{Newest: true}}} {
						var want []int
						others := len(samples)
						before, _ := s.Notes()
						for i := range q.Pull.Positions(len(samples)) {
							if !wants(&f, samples[i-1], now) {
								continue
							}
							if others--; q.Limit == 0 || len(want) < q.Limit {
								want = append(want, i)
							}
						}
						var got []int
						for _, ref := range pick(t, s, q) {
							got = append(got, max(ref.Num, int(ref.UID)))
						}
						if !slices.Equal(got, want) {
							t.Errorf("%s, %v of\n%v\npicked %v\n   not %v", store, q.Pull, f.At(now), got, want)
						}
						// The server counts what it can tell apart.
						counts := store == mail.IMAP && name == "ESEARCH" && !f.At(now).Asks(match.Attached) && !f.At(now).IsNever()
						if after, _ := s.Notes(); counts && after-before != others {
							t.Errorf("%v of\n%v\ncounted %d others, not %d", q, f.At(now), after-before, others)
						}
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
