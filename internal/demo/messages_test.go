package demo

import (
	"bytes"
	"io"
	"testing"

	"github.com/emersion/go-message"
)

func TestMessagesAreMail(t *testing.T) {
	t.Parallel()
	ids := make(map[string]bool)
	for _, a := range accounts() {
		all, err := messages(a.Name)
		if err != nil || len(all) < 3 {
			t.Fatalf("%s: %d messages, %v", a.Name, len(all), err)
		}
		for _, raw := range all {
			entity, err := message.Read(bytes.NewReader(raw))
			if known(err) != nil {
				t.Fatalf("%s: %v in %.200q", a.Name, err, raw)
			}
			id := entity.Header.Get("Message-ID")
			if ids[id] || id == "" {
				t.Errorf("%s: Message-ID %q is missing or not unique", a.Name, id)
			}
			ids[id] = true
			for _, field := range []string{"From", "Date"} {
				if !entity.Header.Has(field) {
					t.Errorf("%s: no %s", id, field)
				}
			}
			err = entity.Walk(func(_ []int, part *message.Entity, err error) error {
				if err = known(err); err == nil && part.MultipartReader() == nil {
					_, err = io.Copy(io.Discard, part.Body)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
			if lf, crlf := bytes.Count(raw, []byte("\n")), bytes.Count(raw, []byte("\r\n")); lf != crlf || !bytes.HasSuffix(raw, []byte("\r\n")) {
				t.Errorf("%s: not in lines that end in CRLF", id)
			}
		}
	}
}

// known is err, unless it says that the library would need another one to turn
// a character set into UTF-8.
func known(err error) error {
	if message.IsUnknownCharset(err) {
		return nil
	}
	return err
}
