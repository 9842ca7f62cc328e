package folder

import (
	"strings"
	"testing"

	"mailpoller/internal/mail"
)

func TestNamesAreThoseThatWerePromised(t *testing.T) {
	t.Parallel()
	imap := mail.Box{Validity: 1700000000}
	for _, c := range []struct {
		connection string
		ref        mail.Ref
		want       string
	}{
		{"invoices", mail.Ref{UID: 12}, "invoices-1700000000-12.eml"},
		{"a/b", mail.Ref{UID: 12}, "a%2Fb-1700000000-12.eml"},
		{"..", mail.Ref{UID: 12}, "%2E.-1700000000-12.eml"},
		{"50%~", mail.Ref{UID: 12}, "50%25%7E-1700000000-12.eml"},
		{"Büro", mail.Ref{UID: 12}, "B%C3%BCro-1700000000-12.eml"},
		{"alarms", mail.Ref{UIDL: "abc"}, "alarms-ba7816bf8f01cfea414140de5dae2223.eml"},
		{strings.Repeat("ä", 128), mail.Ref{UID: 4294967295}, strings.Repeat("%C3%A4", 22) + "~290d9d82ff45cbf7-1700000000-4294967295.eml"},
	} {
		if got := stem(c.connection, imap, c.ref) + ".eml"; got != c.want {
			t.Errorf("%q: %s, not %s", c.connection, got, c.want)
		}
	}
}

func TestANumberStandsBeforeTheExtension(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		directory  bool
	}{
		{"a-17-1.eml", "a-17-1.2.eml", false},
		{"Invoice 17.msg", "Invoice 17.2.msg", false},
		{"ann@example.com", "ann@example.com.2", true},
		{"new/ann@example.com", "new/ann@example.com.2", false},
		{"cur/ann@example.com:2,S", "cur/ann@example.com.2:2,S", false},
	} {
		if got := numbered(c.name, 2, c.directory); got != c.want {
			t.Errorf("%q: %q, not %q", c.name, got, c.want)
		}
		if got := numbered(c.name, 1, c.directory); got != c.name {
			t.Errorf("%q: %q", c.name, got)
		}
	}
}

// FuzzName: names of two connections are never alike, and every file system
// takes them.
func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "..", ".", "-", "a-1-2", "~", "%2F", "CON", "a\x00b", strings.Repeat("ß", 128), "Ünïcode"} {
		f.Add(s, s+"x", uint32(1), "uidl")
	}
	f.Fuzz(func(t *testing.T, a, b string, uid uint32, uidl string) {
		for _, ref := range []mail.Ref{{UID: max(uid, 1)}, {UIDL: uidl}} {
			n := stem(a, mail.Box{Validity: uid}, ref) + ".eml"
			if len(n) > 200 || strings.ContainsAny(n, "/\\:*?\"<>|\x00") || strings.HasPrefix(n, ".") || strings.HasSuffix(n, ".") || !strings.HasSuffix(n, ".eml") {
				t.Errorf("unsafe name %q", n)
			}
			for i := range len(n) {
				if n[i] <= ' ' || n[i] > '~' {
					t.Errorf("octet %#x in name %q", n[i], n)
				}
			}
		}
		if a != b && safe(a) == safe(b) {
			t.Errorf("%q and %q are both spelled %q", a, b, safe(a))
		}
	})
}

func BenchmarkName(b *testing.B) {
	for b.Loop() {
		stem("invoices/of suppliers", mail.Box{Validity: 1795407016}, mail.Ref{UID: 4294967295})
		stem("invoices/of suppliers", mail.Box{}, mail.Ref{UIDL: "0000012a5fe9c1d4"})
	}
}
