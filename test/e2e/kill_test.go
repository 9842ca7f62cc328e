package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestKillDuringADrain stops the daemon dead again and again while it drains a
// mailbox: each message is in the folder once, and the mailbox is empty.
func TestKillDuringADrain(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	const rounds, count = 10, 500
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			for round := range rounds {
				messages := rig.Numbered(count)
				user := d.NewUser(t)
				d.Deliver(t, user, messages...)
				s := rig.New(t, rig.Connect(t, d, "drain", user, store, mail.SSLTLS).With(rig.Settings{
					"disposition": "DELETE", "max_messages": 0, "schedule": "@every 1s",
				}))
				rnd, kills := rand.New(rand.NewPCG(uint64(round), 7)), 0
				for len(d.Messages(t, user)) > 0 {
					daemon := s.Start()
					select { // longer each time, so that it ends
					case <-time.After(time.Duration(20+rnd.IntN(150*(kills+1))) * time.Millisecond):
					case <-daemon.Done:
						t.Fatal("the daemon ended by itself")
					}
					daemon.Kill()
					if kills++; kills > 60 {
						t.Fatal("the drain does not end")
					}
				}
				// What was saved and not yet published shows up at the next poll.
				if v := s.Poll("drain")[0]; v.State != "SUCCEEDED" {
					t.Fatalf("the last poll: %+v", v)
				}
				copies := make(map[string]int)
				for _, body := range rig.Files(t, s.Dir+"/drain") {
					copies[string(body)]++
				}
				for i, m := range messages {
					if n := copies[string(m)]; n != 1 {
						t.Errorf("round %d, %d kills: message %d is there %d times", round, kills, i+1, n)
					}
				}
				if len(copies) != count {
					t.Errorf("round %d: %d messages are there, not %d", round, len(copies), count)
				}
			}
		})
	}
}
