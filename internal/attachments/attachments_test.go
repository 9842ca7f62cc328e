package attachments

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// extract takes a message apart, and sees to it that nothing is outside the
// directory and that each file is what the result says.
func extract(t *testing.T, message io.Reader, o Options) (Result, map[string]string) {
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
	o.Mode = 0o640
	result, err := Extract(t.Context(), message, root, o)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside the directory: %v %v", entries, err)
	}
	if entries, err := os.ReadDir(inside); err != nil || len(entries) != len(result.Files) {
		t.Errorf("%d files, and %d in the result: %v", len(entries), len(result.Files), err)
	}
	if result.Complete != (len(result.Warnings) == 0) {
		t.Errorf("complete: %t, with the warnings %q", result.Complete, result.Warnings)
	}
	contents := make(map[string]string)
	for _, f := range result.Files {
		data, err := os.ReadFile(filepath.Join(inside, f.Name))
		if err != nil || int64(len(data)) != f.Size || sha256.Sum256(data) != f.SHA256 {
			t.Errorf("%+v: %d octets, %v", f, len(data), err)
		}
		if info, err := os.Lstat(filepath.Join(inside, f.Name)); err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v %v", f.Name, info, err)
		}
		contents[f.Name] = string(data)
	}
	return result, contents
}

// listing is what a golden file holds.
func listing(r Result, contents map[string]string) string {
	var text strings.Builder
	for _, f := range r.Files {
		fmt.Fprintf(&text, "%s %q %s %s", f.Path, f.Name, f.Disposition, f.ContentType)
		if f.Original != f.Name {
			fmt.Fprintf(&text, " called %q", f.Original)
		}
		fmt.Fprintf(&text, "\n\t%q\n", contents[f.Name])
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&text, "warning: %s\n", warning)
	}
	return text.String()
}

// corpus are the messages of testdata by their names.
func corpus(tb testing.TB) map[string]string {
	tb.Helper()
	paths, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(paths) < 40 {
		tb.Fatalf("%d messages, %v", len(paths), err)
	}
	messages := make(map[string]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		messages[strings.TrimSuffix(filepath.Base(path), ".eml")] = string(text)
	}
	return messages
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	for name, message := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := listing(extract(t, strings.NewReader(message), Options{}))
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheEndsOfLinesMeanNothing: a message whose lines end in LF has the same
// attachments, but for the ends of the lines that are theirs.
func TestTheEndsOfLinesMeanNothing(t *testing.T) {
	t.Parallel()
	lf := func(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }
	for name, message := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, want := extract(t, strings.NewReader(message), Options{})
			_, got := extract(t, strings.NewReader(lf(message)), Options{})
			for name := range want {
				want[name] = lf(want[name])
			}
			for name := range got {
				got[name] = lf(got[name])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-CRLF +LF):\n%s", diff)
			}
		})
	}
}

// TestReadsOfAnySizeMeanNothing: it does not matter how the octets come.
func TestReadsOfAnySizeMeanNothing(t *testing.T) {
	t.Parallel()
	for name, message := range corpus(t) {
		want := listing(extract(t, strings.NewReader(message), Options{}))
		got := listing(extract(t, iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(message))), Options{}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-at once +one by one):\n%s", name, diff)
		}
	}
}

// TestTruncatedAnywhere: of a message that is cut off, what came is saved, and
// never is it taken for complete while an attachment is missing or cut.
func TestTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	message := corpus(t)["ordinary"]
	whole, contents := extract(t, strings.NewReader(message), Options{})
	if !whole.Complete || len(whole.Files) != 2 {
		t.Fatalf("%+v", whole)
	}
	for n := range len(message) {
		part, cut := extract(t, strings.NewReader(message[:n]), Options{})
		if part.Complete && !cmp.Equal(cut, contents) {
			t.Fatalf("after %d octets of %d it is complete with %+v", n, len(message), part.Files)
		}
		for name, text := range cut {
			// The last octets may be part of an encoding or of a boundary.
			if want, known := contents[name]; known && !strings.HasPrefix(want, text[:max(0, len(text)-8)]) {
				t.Errorf("after %d octets %s holds %q", n, name, text)
			}
		}
	}
	if _, cut := extract(t, strings.NewReader(message[:strings.Index(message, "=C3")]), Options{}); cut["order.pdf"] != contents["order.pdf"] || cut["list.csv"] != "a;b;c\r\nsoftly;" {
		t.Errorf("in the middle of the second: %q", cut)
	}
}

func TestAReaderThatFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, message := range corpus(t) {
		root := directory(t)
		r := io.MultiReader(strings.NewReader(message[:len(message)/2]), iotest.ErrReader(broken))
		if result, err := Extract(t.Context(), r, root, Options{Mode: 0o600}); !errors.Is(err, broken) {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
}

func TestAContextThatEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(strings.NewReader(corpus(t)["ordinary"][:300]), readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}))
	if result, err := Extract(ctx, r, directory(t), Options{Mode: 0o600}); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", result, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestAFileThatIsThereIsAnError: nothing is replaced, and no link is followed.
func TestAFileThatIsThereIsAnError(t *testing.T) {
	t.Parallel()
	root := directory(t)
	if err := root.Symlink("/dev/null", "order.pdf"); err != nil {
		t.Fatal(err)
	}
	if _, err := Extract(t.Context(), strings.NewReader(corpus(t)["ordinary"]), root, Options{Mode: 0o600}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
}

func TestNamesThatAreTaken(t *testing.T) {
	t.Parallel()
	result, _ := extract(t, strings.NewReader(corpus(t)["ordinary"]), Options{Taken: []string{"ORDER.pdf"}})
	if len(result.Files) != 2 || result.Files[0].Name != "order-2.pdf" || !result.Complete {
		t.Errorf("%+v", result)
	}
}

func directory(tb testing.TB) *os.Root {
	tb.Helper()
	root, err := os.OpenRoot(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { root.Close() })
	return root
}
