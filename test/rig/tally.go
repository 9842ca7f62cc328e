package rig

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// Tally is what an experiment with faults came to.
type Tally struct {
	Experiment string
	Faults     int           // injected
	Messages   int           // that were on the server
	Once       int           // delivered once
	Lost       int           // not delivered, and no longer on the server
	Doubled    int           // delivered more than once
	Longest    time.Duration // the longest that one poll took to its end
	Peak       int64         // octets of resident memory, at most; 0 where it was not measured
}

// Count adds what is found of one message: it was delivered n times.
func (y *Tally) Count(n int) {
	y.Messages++
	switch n {
	case 0:
		y.Lost++
	case 1:
		y.Once++
	default:
		y.Doubled++
	}
}

// Took notes how long a poll took.
func (y *Tally) Took(d time.Duration) { y.Longest = max(y.Longest, d) }

// Used notes the octets of memory that a process held.
func (y *Tally) Used(octets int64) { y.Peak = max(y.Peak, octets) }

// Verdict fails the test when a message was lost or doubled, and keeps the
// tally for the table that Main prints at the end.
func (y *Tally) Verdict(t testing.TB) {
	t.Helper()
	if y.Lost > 0 || y.Doubled > 0 || y.Messages == 0 || y.Faults == 0 {
		t.Errorf("%+v", *y)
	}
	tallies.Lock()
	defer tallies.Unlock()
	tallies.all = append(tallies.all, *y)
}

var tallies struct {
	sync.Mutex
	all []Tally
}

// Torture is for how long each row of an experiment repeats itself: 0, once and
// short, unless make torture says otherwise in $POLLER_TORTURE, as a duration.
func Torture(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("POLLER_TORTURE")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("POLLER_TORTURE: %v", err)
	}
	return d
}

// printTallies prints the table of a long run.
func printTallies(w io.Writer) {
	if os.Getenv("POLLER_TORTURE") == "" || len(tallies.all) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "| experiment\t| faults\t| messages\t| once\t| lost\t| doubled\t| longest\t| peak MiB\t|")
	fmt.Fprintln(table, "| ---\t| ---:\t| ---:\t| ---:\t| ---:\t| ---:\t| ---:\t| ---:\t|")
	for _, y := range tallies.all {
		fmt.Fprintf(table, "| %s\t| %d\t| %d\t| %d\t| %d\t| %d\t| %.1f s\t| %.1f\t|\n",
			y.Experiment, y.Faults, y.Messages, y.Once, y.Lost, y.Doubled, y.Longest.Seconds(), float64(y.Peak)/(1<<20))
	}
	_ = table.Flush() // standard output; nobody is left to tell
}
