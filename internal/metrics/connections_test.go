package metrics

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"mailpoller/internal/mail"
)

func TestEveryOutcomeAndKindIsCounted(t *testing.T) {
	t.Parallel()
	if len(mail.Outcomes()) != outcomes || len(mail.Kinds()) != kinds {
		t.Fatalf("%d outcomes and %d kinds", len(mail.Outcomes()), len(mail.Kinds()))
	}
	m := New("v1", "abc")
	m.Connections(named("a"), true)
	for _, kind := range mail.Kinds() {
		m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpSave, kind, "no")})
	}
	got := values(t, m)
	for _, kind := range mail.Kinds() {
		if v := got[fmt.Sprintf("poller_job_failures_total{connection=a,kind=%s}", kind)]; v != 1 {
			t.Errorf("%s: %v", kind, v)
		}
	}
}

// What docs/metrics.md says about the number of series is held here.
func TestSeriesPerConnectionAreAsManyAsDocumented(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	bare := len(values(t, m))
	m.Connections(named("a"), true)
	if n := len(values(t, m)) - bare; n != 13 {
		t.Errorf("a connection has %d series: correct docs/metrics.md, and think of 10,000 connections", n)
	}
}

func TestAFailureHasItsKindForAsLongAsItLasts(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a"), true)
	failed := func(kind mail.Kind) mail.Result {
		return mail.Result{Connection: "a", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpSave, kind, "no")}
	}
	for _, c := range []struct {
		result mail.Result
		kinds  []mail.Kind
	}{
		{failed(mail.KindStorage), []mail.Kind{mail.KindStorage}},
		{failed(mail.KindCanceled), []mail.Kind{mail.KindStorage}}, // it says nothing about the folder
		{failed(mail.KindAuth), []mail.Kind{mail.KindAuth}},
		{mail.Result{Connection: "a", Outcome: mail.OutcomeEmpty}, nil},
	} {
		m.Finished(c.result)
		got := values(t, m)
		for _, kind := range mail.Kinds() {
			_, ok := got[fmt.Sprintf("poller_failing{connection=a,kind=%s}", kind)]
			if ok != slices.Contains(c.kinds, kind) {
				t.Errorf("%v: %s is there: %v", c.result.Err, kind, ok)
			}
		}
	}
}

func TestAConnectionThatBacksOffSaysUntilWhen(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a", "b"), true)
	until := map[string]time.Time{"a": time.Unix(5, 0), "gone": time.Unix(6, 0)}
	m.BackingOff = func() map[string]time.Time { return until }
	got := values(t, m)
	for name, want := range map[string]float64{"a": 5, "b": 0, "gone": 0} {
		if v, ok := got[fmt.Sprintf("poller_backing_off_until_timestamp_seconds{connection=%s}", name)]; v != want || ok != (want > 0) {
			t.Errorf("%s backs off until %v", name, v)
		}
	}
}

// TestHooksThatFailAreSeries: for as long as they fail, also over a reload, and
// with the worst of all connections where they have no series of their own.
func TestHooksThatFailAreSeries(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a", "b", "c"), true)
	m.Hooks("a", mail.Hooks{Due: 3, Since: time.Unix(7, 0)})
	m.Hooks("b", mail.Hooks{Due: 1})
	m.Hooks("c", mail.Hooks{Due: 2, Since: time.Unix(5, 0)})
	m.Hooks("gone", mail.Hooks{Due: 9, Since: time.Unix(1, 0)})
	holds := func(want map[string]float64) {
		t.Helper()
		got := values(t, m)
		for _, metric := range []string{"poller_hooks_due", "poller_hooks_failing_since_timestamp_seconds"} {
			for _, name := range []string{"", "a", "b", "c", "gone"} {
				series := fmt.Sprintf("%s{connection=%s}", metric, name)
				if v, ok := got[series]; v != want[series] || ok != (want[series] != 0) {
					t.Errorf("%s is %v, want %v", series, v, want[series])
				}
			}
		}
	}
	holds(map[string]float64{
		"poller_hooks_due{connection=a}": 3, "poller_hooks_due{connection=b}": 1, "poller_hooks_due{connection=c}": 2,
		"poller_hooks_failing_since_timestamp_seconds{connection=a}": 7, "poller_hooks_failing_since_timestamp_seconds{connection=c}": 5,
	})
	m.Connections(named("a", "b", "c"), false)
	holds(map[string]float64{"poller_hooks_due{connection=}": 6, "poller_hooks_failing_since_timestamp_seconds{connection=}": 5})
	m.Connections(named("a", "b"), true)
	m.Hooks("a", mail.Hooks{})
	holds(map[string]float64{"poller_hooks_due{connection=b}": 1})
}

func TestWithoutSeriesOfTheirOwnConnectionsAreCountedTogether(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a", "b", "c"), false)
	one := len(values(t, m))
	m.Unsaved = func() map[string]Unsaved {
		return map[string]Unsaved{"a": {Quarantined: 2}, "b": {Quarantined: 1, Oversized: 4}}
	}
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeSaved, Messages: 7})
	m.Finished(mail.Result{Connection: "b", Outcome: mail.OutcomeSaved, Messages: 3})
	for range 4 {
		m.Finished(mail.Result{Connection: "c", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpSave, mail.KindStorage, "no")})
	}
	m.Skipped("a")
	want := map[string]float64{
		"poller_jobs_total{connection=,outcome=saved}":        2,
		"poller_jobs_total{connection=,outcome=failed}":       4,
		"poller_job_failures_total{connection=,kind=storage}": 4,
		"poller_messages_saved_total{connection=}":            10,
		"poller_messages_quarantined{connection=}":            3,
		"poller_messages_oversized{connection=}":              4,
		"poller_consecutive_failures{connection=}":            4, // the worst
		"poller_failing{connection=,kind=storage}":            1, // this many connections
		"poller_skipped_firings_total{connection=}":           1,
		"poller_connections{}":                                3,
	}
	got := values(t, m)
	for series, v := range want {
		if got[series] != v {
			t.Errorf("%s is %v, not %v", series, got[series], v)
		}
	}
	if len(got) != one+2 {
		t.Errorf("%d series, and %d with three connections", len(got), one)
	}
	m.Connections(named("b"), false)
	got = values(t, m)
	if got["poller_messages_saved_total{connection=}"] != 10 || got["poller_failing{connection=,kind=storage}"] != 0 || got["poller_messages_quarantined{connection=}"] != 1 {
		t.Errorf("after two were removed: %v", got)
	}
	m.Connections(named("b"), true)
	if got = values(t, m); got["poller_messages_saved_total{connection=b}"] != 3 {
		t.Errorf("after a reload that turns them on: %v", got)
	}
}

// thousands are as many connections as there may be.
func thousands() []mail.Connection {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprint("connection-", i)
	}
	return named(names...)
}

// A configuration of ten thousand connections: its reload, a scrape, and what
// is held between two.
func BenchmarkTenThousandConnections(b *testing.B) {
	all := thousands()
	m := New("v1", "abc")
	m.Connections(all, true)
	b.Run("reload that replaces a tenth", func(b *testing.B) {
		other := slices.Clone(all)
		for i := range len(other) / 10 {
			other[i].Name = fmt.Sprint("new-", i)
		}
		for b.Loop() {
			m.Connections(other, true)
			m.Connections(all, true)
		}
	})
	b.Run("scrape", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.Registry().Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("held", func(b *testing.B) {
		var held uint64
		for b.Loop() {
			before := heap()
			m := New("v1", "abc")
			m.Connections(all, true)
			held = heap() - before
			runtime.KeepAlive(m)
		}
		b.ReportMetric(float64(held)/float64(len(all)), "B/connection")
	})
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
