package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestUnstuffing(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*readBuffer)
	for _, c := range []struct {
		name, wire, want, rest string
		lf                     bool
	}{
		{name: "empty", wire: ".\r\n", want: ""},
		{name: "lines", wire: "a\r\nb\r\n.\r\n", want: "a\r\nb\r\n"},
		{name: "what follows stays", wire: "a\r\n.\r\n+OK\r\n", want: "a\r\n", rest: "+OK\r\n"},
		{name: "one dot is taken off", wire: "..\r\n...\r\n..a\r\n.\r\n", want: ".\r\n..\r\n.a\r\n"},
		{name: "a dot to which none was added is kept", wire: ".a\r\n..b\r\n.\r\n", want: ".a\r\n.b\r\n"},
		{name: "a lone dot between bare LFs ends nothing", wire: "a\n.\nb\r\n.\r\n", want: "a\n.\nb\r\n"},
		{name: "a lone dot and CR ends nothing", wire: "..\rx\r\n.\r\n", want: ".\rx\r\n"},
		{name: "a dot behind a bare LF is kept", wire: "a\n..b\r\n.\r\n", want: "a\n..b\r\n"},
		{name: "NUL, 8 bit and bare CR are kept", wire: "\x00\xff\r\r\x80\r\n.\r\n", want: "\x00\xff\r\r\x80\r\n"},
		{name: "a long line", wire: long + "\r\n.\r\n", want: long + "\r\n"},
		{name: "a long line of dots", wire: strings.Repeat(".", 3*readBuffer) + "\r\n.\r\n", want: strings.Repeat(".", 3*readBuffer-1) + "\r\n"},
		{name: "CR at the end of the buffer", wire: strings.Repeat("x", readBuffer-1) + "\r\n.\r\n", want: strings.Repeat("x", readBuffer-1) + "\r\n"},
		{name: "dots behind the buffer's end", wire: strings.Repeat("x", readBuffer) + "..\r\n.\r\n", want: strings.Repeat("x", readBuffer) + "..\r\n"},
		{name: "a server of bare LFs", wire: "a\n..\n.\n+OK\n", want: "a\n.\n", rest: "+OK\n", lf: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for name, reader := range map[string]io.Reader{
				"whole": strings.NewReader(c.wire), "octet by octet": iotest.OneByteReader(strings.NewReader(c.wire)),
			} {
				r := bufio.NewReaderSize(reader, readBuffer)
				var got bytes.Buffer
				n, err := body(r, &got, c.lf)
				rest, _ := io.ReadAll(r)
				if err != nil || got.String() != c.want || n != int64(len(c.want)) || string(rest) != c.rest {
					t.Errorf("%s: %.60q, %d, %v, then %q", name, got.String(), n, err, rest)
				}
			}
		})
	}
}

func TestABodyWithoutItsEndIsAnError(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r", "a\n.\n"} {
		if n, err := body(bufio.NewReader(strings.NewReader(wire)), io.Discard, false); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %d, %v", wire, n, err)
		}
	}
}

// stuff is how RFC 1939, section 3 has a server send a message.
func stuff(message []byte) []byte {
	var wire bytes.Buffer
	start := true
	for i, c := range message {
		if start && c == '.' {
			wire.WriteByte('.')
		}
		wire.WriteByte(c)
		start = c == '\n' && i > 0 && message[i-1] == '\r'
	}
	if !bytes.HasSuffix(message, []byte("\r\n")) && len(message) > 0 {
		wire.WriteString("\r\n")
	}
	wire.WriteString(".\r\n")
	return wire.Bytes()
}

// FuzzUnstuff: what a server stuffed comes out as it was, however it is cut up
// on its way, and what follows is left alone.
func FuzzUnstuff(f *testing.F) {
	for _, s := range []string{"", ".", "..\r\n", "a\n.\nb", "\r\n.\r\n", "\r", "\n", "a\r\r\n.", strings.Repeat(".\r\n", 50)} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, message []byte, size int) {
		want := message
		if len(message) > 0 && !bytes.HasSuffix(message, []byte("\r\n")) {
			want = append(bytes.Clone(message), "\r\n"...)
		}
		wire := append(stuff(message), "+OK next\r\n"...)
		r := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(wire)), 16+max(0, size)%64)
		var got bytes.Buffer
		if _, err := body(r, &got, false); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("%q came out as %q, %v", message, got.Bytes(), err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "+OK next\r\n" {
			t.Fatalf("%q is left, %v", rest, err)
		}
	})
}

// A message of 1 MiB with a dot to take off in every eighth line.
func BenchmarkUnstuff(b *testing.B) {
	var wire bytes.Buffer
	for i := 0; wire.Len() < 1<<20; i++ {
		if i%8 == 0 {
			wire.WriteByte('.')
		}
		wire.WriteString(".line of a message of the usual length, such as mailers make it\r\n")
	}
	wire.WriteString(".\r\n")
	b.SetBytes(int64(wire.Len()))
	for b.Loop() {
		if _, err := body(bufio.NewReaderSize(bytes.NewReader(wire.Bytes()), readBuffer), io.Discard, false); err != nil {
			b.Fatal(err)
		}
	}
}

func body(r *bufio.Reader, dst io.Writer, lf bool) (int64, error) {
	return (&wire{r: r, lf: lf}).body(dst)
}
