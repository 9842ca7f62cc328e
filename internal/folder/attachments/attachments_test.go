package attachments

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// extract takes a message apart, and sees to it that nothing is outside the
// directory and that each file is what the result says.
func extract(t testing.TB, message io.Reader) (*Result, map[string]string) {
	t.Helper()
	outside := t.TempDir()
	inside := filepath.Join(outside, "in")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	result, err := Extract(message, root, 0o640, "message.eml")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside the directory: %v %v", entries, err)
	}
	entries, err := os.ReadDir(inside)
	if err != nil || len(entries) != len(result.Files) {
		t.Errorf("%d files, and %d in the result: %v", len(entries), len(result.Files), err)
	}
	contents := make(map[string]string)
	for _, f := range result.Files {
		data, err := os.ReadFile(filepath.Join(inside, f.Name))
		sum := sha256.Sum256(data)
		if err != nil || int64(len(data)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("%+v: %d octets, %v", f, len(data), err)
		}
		if info, err := os.Stat(filepath.Join(inside, f.Name)); err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v %v", f.Name, info.Mode(), err)
		}
		contents[f.Name] = string(data)
	}
	return result, contents
}

// mixed is a message with parts, and ends in its last boundary.
func mixed(parts ...string) string {
	return "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\nepilogue\r\n"
}

func part(header, body string) string {
	return strings.ReplaceAll(header, "\n", "\r\n") + "\r\n\r\n" + body
}

func named(disposition string) string {
	return part("Content-Type: application/pdf\nContent-Disposition: "+disposition, "PDF")
}

// corpus is mail as it comes. What becomes of each is in testdata.
var corpus = map[string]string{
	"ordinary": mixed(
		part("Content-Type: text/plain; charset=utf-8", "Dear all"),
		part("Content-Type: application/pdf; name=\"order.pdf\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"order.pdf\"", "JVBERi0xLjQK"),
		part("Content-Type: text/csv; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nContent-Disposition: attachment; filename=list.csv", "a;b=3Bc\r\nsoft=\r\nly;=C3=A4  \r\nend"),
	),
	"nothing":       part("Subject: hello", "just text\r\n"),
	"html and text": "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>hi\r\n--b--\r\n",
	"a single part": part("Content-Type: application/pdf\nContent-Transfer-Encoding: base64", "JVBERi0xLjQK\r\n"),
	"nested": mixed(
		part("Content-Type: multipart/related; boundary=\"inner b\"", "--inner b\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/html\r\n\r\n<img>\r\n--bb--\r\n\r\n--inner b\r\nContent-Type: image/png\r\nContent-ID: <1>\r\n\r\nPNG\r\n--inner b--"),
		part("Content-Type: image/jpeg; name=a.jpg\nContent-Disposition: inline", "JPEG"),
	),
	"a mail within": mixed(part("Content-Type: message/rfc822", "Subject: inner\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Disposition: attachment; filename=deep.txt\r\n\r\ndeep\r\n--c--\r\n"), part("Content-Type: message/rfc822; name=\"Re: hello\"", "Subject: second\r\n\r\n")),
	"hostile names": mixed(
		named("attachment; filename=\"../../etc/passwd\""), named("attachment; filename=\"/etc/shadow\""), named(`attachment; filename="C:\\windows\\system32\\x.dll"`),
		named("attachment; filename=CON"), named("attachment; filename=\"nul.txt\""), named("attachment; filename=\""+strings.Repeat("n", 300)+".pdf\""),
		named("attachment; filename=\".htaccess\""), named("attachment; filename=\"-rf\""), named("attachment; filename=\"a\x00b\x1b.pdf\""),
		named("attachment; filename*=utf-8''invoice%E2%80%AEfdp.exe"), named("attachment; filename=\"..\""), named("attachment; filename=\"\""),
		named("attachment; filename=\"message.eml\""), named("attachment; filename*=utf-8''..%2F..%2Fx.sh"),
	),
	"the same name": mixed(named("attachment; filename=a.pdf"), named("attachment; filename=A.PDF"), named("attachment; filename=a.pdf"), named("attachment; filename=a-2.pdf"), named("attachment; filename=\"\u00e4.pdf\""), named("attachment; filename=\"a\u0308.pdf\"")),
	"charsets of names": mixed(
		named("attachment; filename*=utf-8'de'Gr%C3%BC%C3%9Fe.pdf"), named("attachment; filename*=iso-8859-1''J%F6rg.pdf"),
		named("attachment; filename=\"=?iso-2022-jp?b?GyRCQEE1YTNnGyhC?=.pdf\""), named("attachment; filename==?koi8-r?B?8sXNydLP1w==?=.pdf"),
		named("attachment; filename*0=\"a long \"; filename*1=\"name\";\r\n filename*2=.pdf"), named("attachment; filename*1*=%C3%A4.pdf; filename*0*=utf-8''one%20"),
		named("attachment; filename=\"M\xe4rz.pdf\""), named("attachment; filename=plain.pdf; filename*=utf-8''better.pdf"),
		part("Content-Type: application/pdf; name=\"of the type.pdf\"", "PDF"), named("attachment; filename=\"a \\\"quoted\\\" name.pdf\""), named("attachment; filename=\"without an end.pdf"),
		named("attachment; filename*=klingon''x%FF.pdf"), named("attachment; filename=with blanks.pdf; size=3"),
	),
	"base64 as it comes": mixed(
		part("Content-Disposition: attachment; filename=padded\nContent-Transfer-Encoding: BASE64", "QQ==\r\n"), part("Content-Disposition: attachment; filename=unpadded\nContent-Transfer-Encoding: base64", "QUI"),
		part("Content-Disposition: attachment; filename=spaced\nContent-Transfer-Encoding: base64", "Q U\r\n\tI=\r\n"), part("Content-Disposition: attachment; filename=stray\nContent-Transfer-Encoding: base64", "QU!I=\r\n_____\r\nmailing list footer"),
		part("Content-Disposition: attachment; filename=cut\nContent-Transfer-Encoding: base64", "QUJDR"), part("Content-Disposition: attachment; filename=none\nContent-Transfer-Encoding: base64", ""),
	),
	"quoted-printable as it comes": mixed(
		part("Content-Disposition: attachment; filename=odd\nContent-Transfer-Encoding: quoted-printable", "a=ZZb=\r\nc=4"), part("Content-Disposition: attachment; filename=lower\nContent-Transfer-Encoding: quoted-printable", "=c3=a4 \t\r\n=20\r\n= \r\nend="),
		part("Content-Disposition: attachment; filename=octets\nContent-Transfer-Encoding: quoted-printable", "\x00\xe4\x07"),
	),
	"another encoding":                     mixed(part("Content-Disposition: attachment; filename=uu\nContent-Transfer-Encoding: x-uuencode", "begin 644 a\r\n#86)C\r\nend")),
	"truncated":                            strings.TrimSuffix(mixed(part("Content-Disposition: attachment; filename=a\nContent-Transfer-Encoding: base64", "QUJDREVGRw")), "\r\n--b--\r\nepilogue\r\n"),
	"truncated header":                     "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filena",
	"no boundary":                          "Content-Type: multipart/mixed\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\na\r\n--b--\r\n",
	"it never comes":                       "Content-Type: multipart/mixed; boundary=c\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\na\r\n--b--\r\n",
	"a part that is cut":                   mixed("Content-Disposition: attachment; filename=a", part("Content-Disposition: attachment; filename=b", "b")),
	"an inner multipart that does not end": mixed(part("Content-Type: multipart/mixed; boundary=in", "--in\r\nContent-Disposition: attachment; filename=a\r\n\r\na"), part("Content-Disposition: attachment; filename=b", "b")),
	"lines that end in LF":                 strings.ReplaceAll(mixed(part("Content-Disposition: attachment; filename=a", "one\r\ntwo\r\n"), part("Content-Disposition: attachment; filename=b", "--bb\r\n-- b\r\n--b c\r\n")), "\r\n", "\n"),
	"what looks like a boundary":           mixed(part("Content-Disposition: attachment; filename=a", "--bb\r\n--\r\n --b\r\nx--b\r\n--b-\r\n"), part("Content-Disposition: attachment; filename=b", "")),
	"blanks behind a boundary":             "Content-Type: multipart/mixed; boundary=\"b \"\r\n\r\n--b \t\r\nContent-Disposition: attachment; filename=a\r\n\r\na\r\n--b-- \r\n",
	"headers twice, and rubbish":           mixed("Content-Type: application/pdf\r\nContent-Type: text/html\r\nrubbish\r\n : \r\nContent-Disposition: attachment; filename=a; filename=b;;; =; x\r\n\r\nbody"),
	"a type that is none":                  mixed(part("Content-Type: pdf; name=a.pdf", "PDF"), part("Content-Type: ;;;", "text"), part("Content-Type: image", "text"), part("Content-Type: x/y\nContent-Disposition: attachment", "octets")),
	"TNEF":                                 mixed(part("Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64", "eJ8+IgAA")),
	"text with a name, and an invitation":  mixed(part("Content-Type: text/plain; name=notes.txt", "notes"), part("Content-Type: text/calendar; method=REQUEST", "BEGIN:VCALENDAR"), part("Content-Type: text/plain\nContent-Disposition: attachment", "unnamed")),
	"empty":                                "",
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	for name, message := range corpus {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, contents := extract(t, strings.NewReader(message))
			var text strings.Builder
			for _, f := range result.Files {
				fmt.Fprintf(&text, "%q %s %q\n\t%q\n", f.Name, f.ContentType, f.Original, contents[f.Name])
			}
			for _, d := range result.Doubts {
				fmt.Fprintf(&text, "doubt: %s\n", d)
			}
			golden := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	many := make([]string, MaxParts+5)
	for i := range many {
		many[i] = part("Content-Disposition: attachment; filename=same.txt", fmt.Sprint(i))
	}
	result, contents := extract(t, strings.NewReader(mixed(many...)))
	if len(result.Files) != MaxParts || len(result.Doubts) != 1 || contents["same-1000.txt"] != "999" {
		t.Errorf("of %d parts: %d files, %q", len(many), len(result.Files), result.Doubts)
	}
	deep := part("Content-Disposition: attachment; filename=deep", "deep")
	for i := range 100 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n%s\r\n--b%[1]d--\r\n", i, deep)
	}
	if result, _ := extract(t, strings.NewReader(deep)); len(result.Files) != 0 || len(result.Doubts) != 1 {
		t.Errorf("a hundred deep: %+v", result)
	}
	line := strings.Repeat("x", 3<<20)
	if _, contents := extract(t, strings.NewReader(mixed(part("Content-Disposition: attachment; filename=line", line)))); contents["line"] != line {
		t.Errorf("a line of %d octets became %d", len(line), len(contents["line"]))
	}
	wide := "Content-Disposition: attachment; filename=a\r\nX: " + strings.Repeat("y", 1<<20)
	if _, contents := extract(t, strings.NewReader(mixed(part(wide, "body")))); contents["a"] != "body" {
		t.Errorf("behind a long header: %q", contents)
	}
}

// TestALargeAttachmentTakesLittleMemory: it passes through.
func TestALargeAttachmentTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it looks at the memory of the process
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("a"), 57)) + "\r\n"
	line = strings.Repeat(line, 100)
	const lines = 100 << 20 / 7800
	message := io.MultiReader(
		strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=big\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
		&repeated{line: line, left: lines}, strings.NewReader("--b--\r\n"),
	)
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := Extract(message, root, 0o600)
	runtime.ReadMemStats(&after)
	if err != nil || len(result.Files) != 1 || result.Files[0].Size != lines*5700 || len(result.Doubts) > 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d octets of memory for one attachment", used)
	}
}

// repeated is a line, many times.
type repeated struct {
	line string // of many
	left int
	rest string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.left--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

var unsafe = regexp.MustCompile(`[/\\\x00-\x1f]|^\.|^$`)

// FuzzExtract: whatever a message holds, what comes of it is bounded, and in
// the directory.
func FuzzExtract(f *testing.F) {
	for _, message := range corpus {
		f.Add([]byte(message))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		result, _ := extract(t, bytes.NewReader(message))
		var octets int64
		for _, file := range result.Files {
			octets += file.Size
			if unsafe.MatchString(file.Name) || len(file.Name) > maxName+6 {
				t.Errorf("a name: %q", file.Name)
			}
		}
		if octets > int64(len(message)) {
			t.Errorf("%d octets come of %d", octets, len(message))
		}
	})
}
