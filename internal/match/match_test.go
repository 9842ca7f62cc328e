package match

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const message = "From: =?utf-8?q?J=C3=B6rg?= <joerg@Example.org>\r\n" +
	"TO: alice@example.com,\r\n\tbob@example.com\r\n" +
	"Subject: =?iso-8859-1?q?Gr=FC=DFe?= from\r\n Berlin\r\n" +
	"Date: Sat, 31 Jan 2026 23:30:00 -0800\r\n" +
	"X-Empty:\r\nX-Raw: \xff\xfe z\xc3\xbcrich\r\n" +
	"this is no field\r\nContent-type: multipart/mixed; boundary=x\r\n" +
	"\r\nX-Body: no field of the header\r\n"

var (
	yes = true
	no  = false
	now = time.Date(2026, 2, 3, 6, 0, 0, 0, time.UTC)
)

func date(s string) Since {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return Since{Day: d}
}

func field(name string, texts ...string) Filter {
	return Filter{Header: []Header{{Name: name, Texts: texts}}}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	head := ReadHead([]byte(message))
	for _, c := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"address in any case", Filter{From: []string{"JOERG@example.ORG"}}, true},
		{"decoded name in any case", Filter{From: []string{"jÖrg"}}, true},
		{"as it is written", Filter{From: []string{"J=C3=B6rg"}}, true},
		{"another", Filter{From: []string{"alice"}}, false},
		{"one of several", Filter{From: []string{"alice", "joerg"}}, true},
		{"on the second line", Filter{To: []string{"bob@"}}, true},
		{"latin-1", Filter{Subject: []string{"grüße from"}}, true},
		{"over the fold", Filter{Subject: []string{"FROM BERLIN"}}, true},
		{"both", Filter{Subject: []string{"berlin"}, To: []string{"bob"}}, true},
		{"one of both", Filter{Subject: []string{"berlin"}, To: []string{"carol"}}, false},
		{"a field that is there", field("x-empty", ""), true},
		{"a field that is not", field("x-missing", ""), false},
		{"a field that holds nothing", field("X-Empty", "x"), false},
		{"octets that are no text", field("X-Raw", "zürich"), true},
		{"of the body", field("X-Body", ""), false},
		{"of no field", field("This is no field", ""), false},
		{"larger", Filter{Larger: 999}, true},
		{"not larger than itself", Filter{Larger: 1000}, false},
		{"smaller", Filter{Smaller: 1001}, true},
		{"not smaller than itself", Filter{Smaller: 1000}, false},
		{"on its day, by its own clock", Filter{Since: date("2026-01-31")}, true},
		{"the day after", Filter{Since: date("2026-02-01")}, false},
		{"two and a half days ago", Filter{Since: Since{Ago: 54 * time.Hour}}, true}, // 3 Feb 06:00 less 66 h is 31 Jan
		{"one and a half days ago", Filter{Since: Since{Ago: 24 * time.Hour}}, false},
		{"attachment", Filter{HasAttachment: &yes}, true},
		{"no attachment", Filter{HasAttachment: &no}, false},
		{"not", Filter{Not: &Filter{From: []string{"alice"}}}, true},
		{"not not", Filter{Not: &Filter{Not: &Filter{From: []string{"alice"}}}}, false},
		{"not both", Filter{Not: &Filter{From: []string{"joerg"}, Smaller: 5}}, true},
		{"any", Filter{Any: []Filter{{Smaller: 5}, {From: []string{"joerg"}}}}, true},
		{"none of any", Filter{Any: []Filter{{Smaller: 5}, {From: []string{"alice"}}}}, false},
		{"any, and more", Filter{Larger: 5000, Any: []Filter{{From: []string{"joerg"}}}}, false},
	} {
		if got := c.f.At(now).Judge(head, 1000); got != c.want {
			t.Errorf("%s: %v of %v", c.name, got, c.f.At(now))
		}
	}
	if !(*Filter)(nil).At(now).Judge(Head{}, 0) {
		t.Error("no filter takes no message")
	}
}

func TestAttachmentsByTheHeader(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]bool{
		"Content-Type: multipart/mixed; boundary=x":                 true,
		"Content-Type: Multipart/MIXED; boundary=x":                 true,
		"Content-Type: application/pdf; name=a.pdf":                 true,
		"Content-Disposition: attachment":                           true,
		"Content-Disposition: inline; filename=a.png":               true,
		"Content-Type: multipart/alternative; boundary=x":           false,
		"Content-Type: text/plain; charset=utf-8":                   false,
		"Content-Type: ;":                                           false,
		"Content-Description: multipart/mixed; filename=attachment": false,
	} {
		if got := (&Filter{HasAttachment: &yes}).At(now).Judge(ReadHead([]byte(field+"\r\n\r\n")), 0); got != want {
			t.Errorf("%s: %v", field, got)
		}
	}
}

func TestAMessageWithoutADateIsOfNoDay(t *testing.T) {
	t.Parallel()
	since := Filter{Since: date("1970-01-01")}
	for _, h := range []string{"", "Date: soon\r\n", "Subject: x\r\n\r\nDate: Sat, 31 Jan 2026 23:30:00 +0000\r\n"} {
		if since.At(now).Judge(ReadHead([]byte(h)), 0) {
			t.Errorf("%q has a date", h)
		}
	}
}

// A formula that is partly known comes to the same as the whole of it.
func TestWhatIsKnownDecides(t *testing.T) {
	t.Parallel()
	f := Filter{Larger: 100, Any: []Filter{{HasAttachment: &yes}, {From: []string{"joerg"}, HasAttachment: &no}}}
	e := f.At(now)
	if got := e.With(true).WithSize(101); !got.IsAlways() {
		t.Errorf("with attachments and large: %v", got)
	}
	if got := e.With(true).WithSize(100); !got.IsNever() {
		t.Errorf("too small: %v", got)
	}
	if got, want := e.With(false).WithSize(101).String(), `From contains "joerg"`; got != want {
		t.Errorf("without attachments: %s, not %s", got, want)
	}
	if e.Asks(Flagged) || !e.Asks(Attached) || e.With(true).Asks(Attached) {
		t.Error("a condition is asked for that is not there, or the other way round")
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	deep := Filter{From: []string{"x"}}
	for range MaxDepth {
		inner := deep
		deep = Filter{Not: &inner}
	}
	long := Filter{Subject: strings.Split(strings.Repeat(strings.Repeat("x", MaxText)+" ", MaxTexts/MaxText), " ")}
	for _, c := range []struct {
		f    Filter
		says string
	}{
		{*deep.Not, ""},
		{deep, "6 deep"},
		{Filter{From: make([]string, MaxLeaves)}, ""},
		{Filter{From: make([]string, MaxLeaves), Larger: 1}, "65 conditions"},
		{Filter{Any: []Filter{{To: make([]string, MaxLeaves)}, field("X", "y")}}, "65 conditions"},
		{long, "octets together"},
	} {
		if err := c.f.Check(); fmt.Sprint(err) == "<nil>" != (c.says == "") || c.says != "" && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.says, err)
		}
	}
}

func TestFlagsAreAskedFor(t *testing.T) {
	t.Parallel()
	for _, f := range []Filter{{Flagged: &no}, {Not: &Filter{Flagged: &yes}}, {Any: []Filter{{Larger: 1}, {Not: &Filter{Flagged: &yes}}}}} {
		if !f.AsksForFlags() {
			t.Errorf("%v", f.At(now))
		}
	}
	if f := (Filter{Larger: 1, Not: &Filter{Smaller: 1}, Any: []Filter{{HasAttachment: &yes}}}); f.AsksForFlags() {
		t.Errorf("%v", f.At(now))
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add([]byte(message))
	f.Add([]byte(" \r\n:\r\n: x\r\n\x00:\x00\r\nSubject: =?\r\n"))
	every := Filter{From: []string{"a"}, Subject: []string{"b"}, HasAttachment: &yes, Since: date("2026-01-31")}
	f.Fuzz(func(_ *testing.T, header []byte) {
		every.At(now).Judge(ReadHead(header), int64(len(header)))
	})
}
