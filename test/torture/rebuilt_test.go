package torture

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAMailboxIsRebuilt: the messages of a mailbox that was given another
// UIDVALIDITY are known by their digests, and a new one among them is not.
func TestAMailboxIsRebuilt(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	const count = 1000
	messages := rig.Numbered(count + 1)
	user := d.NewUser(t)
	d.Deliver(t, user, messages[:count]...)
	s := rig.New(t)
	dir := smallDisk(t, "64m") // in memory: thousands of syncs take their time
	folder := filepath.Join(dir, "kept")
	if err := os.Mkdir(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	s.Write(map[string]any{
		"listen": "", "state_dir": filepath.Join(dir, "state"),
		"connections": []rig.Settings{rig.Connect(t, d, "kept", user, mail.IMAP, mail.NoTLS).With(rig.Settings{
			"folder": folder, "disposition": "KEEP", "max_messages": 0,
		})},
	})
	if v := s.Poll("kept")[0]; v.Messages != count || v.State != "SUCCEEDED" {
		t.Fatalf("%+v, %+v", v, v.Error)
	}
	before := rig.Files(t, folder)
	tally := &rig.Tally{Experiment: "UIDVALIDITY changes"}
	rebuilds := uint32(1)
	if rig.Torture(t) > 0 {
		rebuilds = 3
	}
	for rebuilt := range rebuilds {
		tally.Faults++
		d.Rebuild(t, user, 4_000_000_000+rebuilt)
		if rebuilt == 0 {
			d.Deliver(t, user, messages[count])
		}
		v := s.Poll("kept")[0]
		if want := max(0, 1-int(rebuilt)); v.Messages != want || v.State != "SUCCEEDED" {
			t.Fatalf("rebuilt %d times: %+v, %+v", rebuilt+1, v, v.Error)
		}
		if v := s.Poll("kept")[0]; v.Outcome != "empty" {
			t.Errorf("rebuilt %d times, the next poll: %+v, %+v", rebuilt+1, v, v.Error)
		}
	}
	after := rig.Files(t, folder)
	for name, data := range before {
		if !bytes.Equal(after[name], data) {
			t.Errorf("%s was changed", name)
		}
	}
	copies := make(map[string]int)
	for _, data := range after {
		copies[string(data)]++
	}
	for _, m := range messages {
		tally.Count(copies[string(m)])
	}
	if len(after) != count+1 {
		t.Errorf("%d files", len(after))
	}
	if left := d.Messages(t, user); len(left) != count+1 {
		t.Errorf("%d messages are on the server", len(left))
	}
	tally.Verdict(t)
}
