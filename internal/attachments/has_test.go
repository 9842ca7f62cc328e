package attachments

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHas(t *testing.T) {
	t.Parallel()
	text := "Content-Type: text/plain\r\n\r\ntext"
	for name, c := range map[string]struct {
		message string
		want    bool
	}{
		"a text":                           {text, false},
		"nothing":                          {"", false},
		"a header alone":                   {"Subject: x\r\n", false},
		"no MIME":                          {"Subject: x\r\n\r\ntext\r\n", false},
		"texts of two kinds":               {multipart("b", text, "Content-Type: text/html\r\n\r\nx"), false},
		"an attachment":                    {multipart("b", text, attachment("a.pdf", "x")), true},
		"a mark without a name":            {multipart("b", text, "Content-Disposition: ATTACHMENT\r\n\r\nx"), true},
		"a name without a mark":            {multipart("b", text, "Content-Type: application/pdf; name=a.pdf\r\n\r\nx"), true},
		"a name in the other field":        {multipart("b", text, "Content-Type: application/pdf\r\nContent-Disposition: x; name=a.pdf\r\n\r\nx"), true},
		"a name of RFC 2231":               {multipart("b", text, "Content-Type: a/b; name*=utf-8''%C3%A4\r\n\r\nx"), true},
		"shown in the text":                {multipart("b", text, "Content-Disposition: inline; filename=a.png\r\n\r\nx"), false},
		"neither mark nor name":            {multipart("b", text, "Content-Type: application/pdf\r\n\r\nx"), false},
		"nothing but a file":               {"Content-Type: application/pdf; name=a.pdf\r\n\r\nx", true},
		"packed deep":                      {multipart("b", multipart("c", text, multipart("d", text, attachment("a", "x")))), true},
		"a multipart with a mark":          {"Content-Disposition: attachment\r\n" + multipart("b", text), true},
		"a multipart with a name":          {"Content-Disposition: x; filename=a\r\n" + multipart("b", text), false},
		"a message in it":                  {multipart("b", text, "Content-Type: message/rfc822\r\n\r\n"+multipart("c", attachment("a", "x"))), false},
		"a message in it, with a mark":     {multipart("b", text, "Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n"+text), true},
		"a line that is no field":          {"rubbish\r\n" + text, false},
		"a text that is cut off":           {text[:len(text)-2], false},
		"uuencode, which no server sees":   {"\r\nbegin 644 a\r\n#86)C\r\nend\r\n", false},
		"without a boundary":               {"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx", true},
		"a boundary that never comes":      {"Content-Type: multipart/mixed; boundary=b\r\n\r\nx", true},
		"without its last boundary":        {strings.TrimSuffix(multipart("b", text, text), "--\r\n"), true},
		"it goes on behind its end":        {multipart("b", text) + "--b\r\n\r\nx\r\n--b--\r\n", true},
		"too deep":                         {strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 30), true},
		"too many parts":                   {multipart("b", make([]string, 1001)...), true},
		"behind an inner one that is open": {strings.Replace(multipart("b", multipart("c", text), attachment("a", "x")), "--c--", "", 1), true},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.message), iotest.OneByteReader(strings.NewReader(c.message))} {
			if got, err := Has(t.Context(), r); got != c.want || err != nil {
				t.Errorf("%s: %t, %v", name, got, err)
			}
		}
	}
}

// TestHasReadsNoFurtherThanItHasTo: what it has found, it need not look for.
func TestHasReadsNoFurtherThanItHasTo(t *testing.T) {
	t.Parallel()
	begin := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + attachment("a", "")
	if has, err := Has(t.Context(), io.MultiReader(strings.NewReader(begin), iotest.ErrReader(errors.New("read on")))); !has || err != nil {
		t.Errorf("%t, %v", has, err)
	}
}

func TestHasSaysWhatItsReaderDoes(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if has, err := Has(t.Context(), io.MultiReader(strings.NewReader("Subject: x\r\n\r\ntext"), iotest.ErrReader(broken))); has || !errors.Is(err, broken) {
		t.Errorf("%t, %v", has, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if has, err := Has(ctx, strings.NewReader("\r\n")); has || !errors.Is(err, context.Canceled) {
		t.Errorf("%t, %v", has, err)
	}
}

// TestHasTakesLittleMemory, whatever the size of a message, of a header or of a line.
func TestHasTakesLittleMemory(t *testing.T) { //nolint:paralleltest // it looks at the memory of the process
	for name, message := range map[string]func() io.Reader{
		"a body":   func() io.Reader { return &repeated{block: strings.Repeat("x\r\n", 1000), left: 5000} },
		"a line":   func() io.Reader { return &repeated{block: strings.Repeat("x", 3000), left: 5000} },
		"a header": func() io.Reader { return &repeated{block: strings.Repeat("X-Y: z\r\n", 400), left: 5000} },
		"a field": func() io.Reader {
			return &repeated{block: "Content-Type: a;" + strings.Repeat(" b=c;\r\n", 400), left: 5000}
		},
		"parts": func() io.Reader {
			return io.MultiReader(strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n"), &repeated{block: strings.Repeat("--b\r\n\r\nx\r\n", 9), left: 100_000})
		},
	} {
		if used := allocated(t, func() {
			if _, err := Has(t.Context(), message()); err != nil {
				t.Error(err)
			}
		}); used > 1<<20 {
			t.Errorf("%s: %d bytes of memory", name, used)
		}
	}
}
