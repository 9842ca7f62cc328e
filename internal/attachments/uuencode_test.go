package attachments

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// uuencoded is data in uuencode, in lines of so many bytes. blanks says that zeros
// are blanks, as they once were.
func uuencoded(name, data string, width int, blanks bool) string {
	var b strings.Builder
	character := func(v byte) {
		if v &= 63; v == 0 && !blanks {
			v = 64
		}
		b.WriteByte(' ' + v)
	}
	fmt.Fprintf(&b, "begin 644 %s\r\n", name)
	for line := range slices.Chunk([]byte(data), width) {
		character(byte(len(line)))
		for i := 0; i < len(line); i += 3 {
			var three [3]byte
			copy(three[:], line[i:])
			character(three[0] >> 2)
			character(three[0]<<4 | three[1]>>4)
			character(three[1]<<2 | three[2]>>6)
			character(three[2])
		}
		b.WriteString("\r\n")
	}
	character(0)
	return b.String() + "\r\nend\r\n"
}

// TestEveryUuencodedByteIsDecoded: whatever the lengths of its lines, and however the
// text that it stands in is encoded.
func TestEveryUuencodedByteIsDecoded(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		data := make([]byte, 1+random.IntN(2000))
		for i := range data {
			data[i] = byte(max(0, random.IntN(512)-256)) // half of them zero
		}
		width := 1 + random.IntN(63)
		text := "see below\r\n\r\n" + uuencoded("a.bin", string(data), width, width%2 == 0) + "regards\r\n"
		result, contents := extract(t, strings.NewReader(multipart("b",
			"\r\n"+text,
			"Content-Transfer-Encoding: base64\r\n\r\n"+base64.StdEncoding.EncodeToString([]byte(text)),
			"Content-Type: application/pdf; name=b.pdf\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"+uuencoded("x", string(data), width, true),
		)), Options{})
		if !result.Complete || contents["a.bin"] != string(data) || contents["a-2.bin"] != string(data) || contents["b.pdf"] != string(data) {
			t.Fatalf("%d bytes in lines of %d: %+v", len(data), width, result)
		}
	}
}

// TestUuencodeThatIsCutOff is never taken for a whole file, wherever it is cut.
func TestUuencodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("some data, ", 20)
	whole := strings.TrimSuffix("\r\n"+uuencoded("a.txt", data, 45, false), "\r\n")
	begin := strings.Index(whole, "\r\nM")
	for n := begin; n < len(whole); n++ {
		result, contents := extract(t, strings.NewReader(whole[:n]), Options{})
		came := strings.TrimRight(contents["a.txt"], "\x00") // for what is missing of a line; its last byte may lack some bits
		if result.Complete || !strings.HasPrefix(data, came[:max(0, len(came)-1)]) {
			t.Errorf("after %d of %d bytes: %q, %+v", n, len(whole), contents["a.txt"], result)
		}
	}
	if result, contents := extract(t, strings.NewReader(whole), Options{}); !result.Complete || contents["a.txt"] != data {
		t.Errorf("%q, %+v", contents["a.txt"], result)
	}
}

// TestUuencodedFilesAreBounded: they count as parts, and their bytes as those of
// files.
func TestUuencodedFilesAreBounded(t *testing.T) {
	t.Parallel()
	many := "\r\n" + strings.Repeat(uuencoded("a", "abc", 45, false), 2000)
	if result, _ := extract(t, strings.NewReader(many), Options{}); len(result.Files) != 999 || result.Complete {
		t.Errorf("%d files, %q", len(result.Files), result.Warnings)
	}
	result, contents := extract(t, strings.NewReader("\r\n"+uuencoded("a", strings.Repeat("x", 100), 45, false)+uuencoded("b", "y", 45, false)), Options{MaxOctets: 50})
	if len(result.Files) != 1 || contents["b"] != "y" || !slices.Equal(result.Warnings, []string{"part 1: it is too large"}) {
		t.Errorf("%+v", result)
	}
	// A line that says that it is longer than it is makes no file larger than its text.
	short := "\r\nbegin 644 a\r\n#86)C\r\n" + strings.Repeat("M\r\n", 10_000) + "`\r\nend\r\n"
	if result, _ := extract(t, strings.NewReader(short), Options{}); result.Complete || result.Files[0].Size > int64(len(short)) {
		t.Errorf("%+v", result)
	}
}

// TestALongLineTakesLittleMemory, also one that may begin a file.
func TestALongLineTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it looks at the memory of the process
	long := "\r\n" + strings.Repeat("begin 644 a ", 1<<18)
	if used := allocated(t, func() { extract(t, strings.NewReader(long), Options{}) }); used > 2<<20 {
		t.Errorf("%d bytes of memory for a long line", used)
	}
}

// TestBase64InPieces: however a file is cut, each piece has its padding.
func TestBase64InPieces(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		var data, encoded strings.Builder
		for padded := true; padded; {
			piece := make([]byte, 1+random.IntN(400))
			for i := range piece {
				piece[i] = byte(random.IntN(256))
			}
			padded = len(piece)%3 != 0 // the end of another piece cannot be told from its middle
			data.Write(piece)
			text := base64.StdEncoding.EncodeToString(piece)
			for ; len(text) > 76; text = text[76:] {
				encoded.WriteString(text[:76] + "\r\n")
			}
			encoded.WriteString(text + []string{"", "\r\n", "\r\n\r\n"}[random.IntN(3)])
			if random.IntN(4) == 0 {
				break
			}
		}
		result, contents := extract(t, strings.NewReader(multipart("b", "Content-Transfer-Encoding: base64\r\n"+attachment("a", encoded.String()))), Options{})
		if contents["a"] != data.String() && result.Complete {
			t.Fatalf("%q is taken for complete: %d bytes of %d", encoded.String(), len(contents["a"]), data.Len())
		}
		if !result.Complete {
			t.Errorf("%q: %q", encoded.String(), result.Warnings)
		}
	}
}
