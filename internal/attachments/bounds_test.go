package attachments

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mailpoller/internal/filename"
)

// multipart is one with these parts, each a header and a body.
func multipart(boundary string, parts ...string) string {
	return "Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n" +
		strings.Join(parts, "\r\n--"+boundary+"\r\n") + "\r\n--" + boundary + "--\r\n"
}

func attachment(name, body string) string {
	return "Content-Disposition: attachment; filename=\"" + name + "\"\r\n\r\n" + body
}

func TestManyParts(t *testing.T) {
	t.Parallel()
	many := make([]string, 1005)
	for i := range many {
		many[i] = attachment("same.txt", fmt.Sprint(i))
	}
	result, contents := extract(t, strings.NewReader(multipart("b", many[:999]...)), Options{})
	if len(result.Files) != 999 || !result.Complete || contents["same-999.txt"] != "998" {
		t.Errorf("of 999 parts: %d files, %q", len(result.Files), result.Warnings)
	}
	result, _ = extract(t, strings.NewReader(multipart("b", many...)), Options{})
	if len(result.Files) != 999 || result.Complete || len(result.Warnings) != 1 {
		t.Errorf("of %d parts: %d files, %q", len(many), len(result.Files), result.Warnings)
	}
	result, _ = extract(t, strings.NewReader(multipart("b", many...)), Options{MaxParts: 3})
	if len(result.Files) != 2 || !slices.Equal(result.Warnings, []string{"the message: it has more than 3 parts"}) {
		t.Errorf("of three: %+v", result)
	}
}

func TestManyWarnings(t *testing.T) {
	t.Parallel()
	many := slices.Repeat([]string{"Content-Transfer-Encoding: x\r\n" + attachment("a", "b")}, 50)
	result, _ := extract(t, strings.NewReader(multipart("b", many...)), Options{})
	if len(result.Files) != 50 || len(result.Warnings) != maxWarnings {
		t.Errorf("%d files, %d warnings", len(result.Files), len(result.Warnings))
	}
}

func TestDeepMultiparts(t *testing.T) {
	t.Parallel()
	deep := func(depth int) string {
		text := attachment("deep", "deep")
		for i := range depth {
			text = multipart(fmt.Sprintf("b%d", i), text, attachment("beside", fmt.Sprint(i)))
		}
		return text
	}
	result, contents := extract(t, strings.NewReader(deep(20)), Options{})
	if !result.Complete || contents["deep"] != "deep" || result.Files[0].Path != strings.Repeat("1.", 19)+"1" {
		t.Errorf("twenty deep: %+v", result)
	}
	result, contents = extract(t, strings.NewReader(deep(100)), Options{})
	if len(result.Files) != 20 || contents["beside"] != "80" || len(result.Warnings) != 1 {
		t.Errorf("a hundred deep: %d files, %q", len(result.Files), result.Warnings)
	}
}

func TestTheOctetsOfAllFilesAreBounded(t *testing.T) {
	t.Parallel()
	message := multipart("b", attachment("a", "12345"), attachment("b", "123456"), attachment("c", "12345"), attachment("d", "1"))
	result, contents := extract(t, strings.NewReader(message), Options{MaxOctets: 10})
	if len(result.Files) != 2 || contents["c"] != "12345" || !slices.Equal(result.Warnings, []string{"part 2: it is too large", "part 4: it is too large"}) {
		t.Errorf("%+v", result)
	}
}

// TestLongLines: lines of any length are whole, wherever the end of one falls.
func TestLongLines(t *testing.T) {
	t.Parallel()
	for _, n := range []int{maxPiece - 40, maxPiece - 2, maxPiece - 1, maxPiece, maxPiece + 1, 2*maxPiece - 1, 2 * maxPiece, 1 << 20} {
		for _, end := range []string{"\n", "\r\n", "\r\r\n"} {
			line := strings.Repeat("x", n) + end
			message := multipart("b", attachment("line", line+line), "X: "+line+attachment("behind", "it"), attachment("encoded", "\r\n"))
			result, contents := extract(t, strings.NewReader(message), Options{})
			if contents["line"] != line+line || contents["behind"] != "it" || !result.Complete {
				t.Errorf("lines of %d and %q: %d octets, %q, %q", n, end, len(contents["line"]), contents["behind"], result.Warnings)
			}
		}
	}
}

func TestLongFieldsAndManyParameters(t *testing.T) {
	t.Parallel()
	for name, field := range map[string]string{
		"long":       "filename=a; x=\"" + strings.Repeat("y", 1<<20) + "\"",
		"folded":     "filename=a;\r\n" + strings.Repeat(" x=y;\r\n", 20_000) + " z=z",
		"quotes":     "filename=a; x=\"" + strings.Repeat(`"`, 60_000),
		"pieces":     "filename=a; " + strings.Repeat("x*1=y;", 10_000),
		"semicolons": "filename=a" + strings.Repeat(";", 60_000),
		"words":      "filename=a; name=\"" + strings.Repeat("=?utf-8?Q?a?= ", 4_000),
		"comments":   "filename=a " + strings.Repeat("(", 60_000),
	} {
		result, _ := extract(t, strings.NewReader(multipart("b", "Content-Disposition: attachment; "+field+"\r\n\r\nbody")), Options{})
		if len(result.Files) != 1 || result.Files[0].Size != 4 {
			t.Errorf("%s: %+v", name, result)
		}
	}
}

// TestEveryOctetIsDecoded: what is encoded as it should be comes out as it was,
// whatever the length of its lines.
func TestEveryOctetIsDecoded(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		data := make([]byte, random.IntN(3000))
		for i := range data {
			data[i] = byte(random.IntN(256))
		}
		width := 4 * (1 + random.IntN(40))
		var encoded, quoted strings.Builder
		for text := base64.StdEncoding.EncodeToString(data); text != ""; text = text[min(width, len(text)):] {
			encoded.WriteString(text[:min(width, len(text))] + "\r\n")
		}
		for i, c := range data {
			fmt.Fprintf(&quoted, "=%02X", c)
			if i%width == 0 {
				quoted.WriteString("= \r\n")
			}
		}
		message := multipart("b", "Content-Transfer-Encoding: base64\r\n"+attachment("base64", encoded.String()),
			"Content-Transfer-Encoding: quoted-printable\r\n"+attachment("quoted", quoted.String()))
		result, contents := extract(t, strings.NewReader(message), Options{})
		if !result.Complete || contents["base64"] != string(data) || contents["quoted"] != string(data) {
			t.Fatalf("%d octets in lines of %d: %+v", len(data), width, result)
		}
	}
}

// bigMessage is one with an attachment of so many lines of base64, 5700 octets
// for each hundred.
func bigMessage(hundreds int) io.Reader {
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("a"), 57)) + "\r\n"
	return io.MultiReader(
		strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=big\r\n\r\n"),
		&repeated{block: strings.Repeat(line, 100), left: hundreds}, strings.NewReader("--b--\r\n"),
	)
}

// repeated is a text, many times.
type repeated struct {
	block string
	left  int
	rest  strings.Reader
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest.Len() == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.left--
		r.rest.Reset(r.block)
	}
	return r.rest.Read(p)
}

// TestALargeAttachmentTakesLittleMemory: it passes through.
func TestALargeAttachmentTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it looks at the memory of the process
	const hundreds = 20 << 20 / 5700
	message, root := bigMessage(hundreds), directory(t)
	used := allocated(t, func() {
		result, err := Extract(t.Context(), message, root, Options{Mode: 0o600})
		if err != nil || len(result.Files) != 1 || result.Files[0].Size != hundreds*5700 || !result.Complete {
			t.Errorf("%+v, %v", result, err)
		}
	})
	if used > 1<<20 {
		t.Errorf("%d octets of memory for one attachment", used)
	}
}

// allocated is how much memory f asks for in all, not what it holds at once.
func allocated(t *testing.T, f func()) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func BenchmarkExtract(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(100 << 20)
	for b.Loop() {
		if _, err := Extract(b.Context(), bigMessage(100<<20/5700), directory(b), Options{Mode: 0o600}); err != nil {
			b.Fatal(err)
		}
	}
}

// never is what no name may hold.
var never = regexp.MustCompile(`[/\\:*?"<>|\p{C}]|^[ .~-]|[ .]$|^$`)

// FuzzExtract: whatever a message holds, what comes of it is bounded, and in
// the directory.
func FuzzExtract(f *testing.F) {
	for _, message := range corpus(f) {
		f.Add([]byte(message))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		o := Options{MaxParts: 30, MaxDepth: 5}
		result, contents := extract(t, bytes.NewReader(message), o)
		var octets int64
		names := make(map[string]bool)
		for _, file := range result.Files {
			octets += file.Size
			if never.MatchString(file.Name) || len(file.Name) > maxName || filepath.Base(file.Name) != file.Name || names[filename.Fold(file.Name)] {
				t.Errorf("a name: %q", file.Name)
			}
			names[filename.Fold(file.Name)] = true
			if !utf8.ValidString(file.Original) || len(file.Original) > 1000 || !utf8.ValidString(file.ContentType) {
				t.Errorf("%+v", file)
			}
		}
		if octets > int64(len(message)) || len(result.Files) > o.MaxParts || len(result.Warnings) > maxWarnings {
			t.Errorf("%d octets in %d files come of %d; %d warnings", octets, len(result.Files), len(message), len(result.Warnings))
		}
		if _, err := Has(t.Context(), bytes.NewReader(message)); err != nil {
			t.Error(err)
		}
		slow, same := extract(t, io.MultiReader(bytes.NewReader(message[:len(message)/2]), bytes.NewReader(message[len(message)/2:])), o)
		if listing(result, contents) != listing(slow, same) {
			t.Errorf("%+v, and in two pieces %+v", result, slow)
		}
	})
}
