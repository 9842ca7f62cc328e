package state

import (
	"fmt"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// A batch from its journal entry to its disposal.
func BenchmarkBatch(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	box := mail.Box{Account: "imap://u@h/INBOX", Validity: 1}
	entries := make([]mail.Entry, 512)
	refs := make([]mail.Ref, len(entries))
	uid := uint32(0)
	for b.Loop() {
		for i := range entries {
			uid++
			refs[i] = mail.Ref{UID: uid, Size: 4096}
			entries[i] = mail.Entry{Ref: refs[i], Octets: 4096, Dir: "/srv/inbound", Temp: fmt.Sprint("temp", uid), Name: fmt.Sprint("name", uid)}
		}
		if err := s.Save(b.Context(), "c", box, entries); err != nil {
			b.Fatal(err)
		}
		if err := s.Dispose(b.Context(), "c", box, refs, disposition.Delete); err != nil {
			b.Fatal(err)
		}
	}
}
