//go:build bench

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	minutes = flag.Int("bench.minutes", 2, "for how many minutes TestScale looks on, after the first")
	soak    = flag.Duration("bench.soak", 0, "for how long TestSoak looks on; 0: it does not run")
)

// watched is a daemon that is looked at from the outside.
type watched struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	config string
	heard  chan string // messages of its log
}

// watch starts a daemon and returns when it polls, with how long that took.
func watch(t *testing.T, s *cheap, connections []map[string]any) (*watched, time.Duration) {
	t.Helper()
	dir := t.TempDir()
	w := &watched{t: t, config: filepath.Join(dir, "poller.yaml"), heard: make(chan string, 16)}
	text, err := json.Marshal(map[string]any{
		"listen": "127.0.0.1:0", "state_dir": filepath.Join(dir, "state"), "profiling": "ENABLED", "log": map[string]any{"format": "json"},
		"ca_file": s.ca, "limits": map[string]any{"polls_per_host": 64}, "connections": connections,
	})
	if err == nil {
		err = os.WriteFile(w.config, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.cmd = exec.Command(binary, "run", "--config", w.config)
	log, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
		_ = w.cmd.Wait() // how it ends is another test's business
	})
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var entry struct{ Level, Msg, Listen, Error string }
			if json.Unmarshal(lines.Bytes(), &entry) != nil {
				continue
			}
			switch {
			case entry.Msg == "polling":
				w.url = entry.Listen
				w.heard <- entry.Msg
			case entry.Msg == "configuration reloaded":
				w.heard <- entry.Msg
			case entry.Level == "error":
				fmt.Fprintf(os.Stderr, "the daemon says: %.300s\n", lines.Text())
			}
		}
	}()
	w.await("polling")
	return w, time.Since(began)
}

// await waits for a message in the log.
func (w *watched) await(want string) {
	w.t.Helper()
	select {
	case got := <-w.heard:
		if got != want {
			w.t.Fatalf("the daemon says %q, not %q", got, want)
		}
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("the daemon does not say %q", want)
	}
}

// sample is what a daemon's metrics say, and the system.
type sample struct {
	values map[string]float64
	cpu    float64
	rss    int64
}

func (w *watched) sample() sample {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	s := sample{values: make(map[string]float64)}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		i := strings.LastIndexByte(lines.Text(), ' ')
		if i < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[i+1:], 64)
		if err != nil {
			continue
		}
		name, labels, _ := strings.Cut(lines.Text()[:i], "{")
		if strings.Contains(labels, "le=") {
			name += "{" + labels
		}
		s.values[name] += value // over the connections
	}
	j := &job{t: w.t}
	s.cpu, s.rss = j.cpuOf(w.cmd.Process.Pid), statusOf(w.cmd.Process.Pid, "VmRSS:")
	return s
}

// quantile is the upper bound of the bucket in which a quantile of what was
// observed between two samples lies.
func quantile(q float64, name string, from, to sample) float64 {
	total := to.values[name+"_count"] - from.values[name+"_count"]
	bound := math.Inf(1)
	for key, value := range to.values {
		le, ok := strings.CutPrefix(key, name+`_bucket{le="`)
		if !ok || value-from.values[key] < q*total {
			continue
		}
		if b, err := strconv.ParseFloat(strings.TrimSuffix(le, `"}`), 64); err == nil {
			bound = min(bound, b)
		}
	}
	return bound
}

// TestScale polls many accounts every minute, and looks at when the polls
// start, what they cost, and what a start and a reload take.
func TestScale(t *testing.T) {
	var rows [][]string
	for _, n := range []int{scaled(10_000), scaled(50_000)} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newCheap(t, 100)
			connections := s.connections(n, "@every 1m", t.TempDir())
			w, started := watch(t, s, connections)
			rest := w.sample()
			<-time.After(time.Minute)
			before := w.sample()
			<-time.After(time.Duration(*minutes) * time.Minute)
			after := w.sample()

			connections[0]["max_retries"] = 1 // one that is changed
			text, err := os.ReadFile(w.config)
			if err == nil {
				err = os.WriteFile(w.config, []byte(strings.Replace(string(text), `"name":"account-00000"`, `"name":"account-00000","max_retries":1,"retry_interval":1`, 1)), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			w.await("configuration reloaded")
			reloaded := time.Since(began)
			<-time.After(time.Minute)
			last := w.sample()

			polls := after.values["poller_schedule_lag_seconds_count"] - before.values["poller_schedule_lag_seconds_count"]
			if failed := last.values["poller_job_failures_total"]; failed > 0 {
				t.Errorf("%.0f polls failed", failed)
			}
			rows = append(rows, []string{
				fmt.Sprint(n), fmt.Sprintf("%.0f of %d", polls, n**minutes),
				fmt.Sprintf("%.2f", quantile(.5, "poller_schedule_lag_seconds", before, after)),
				fmt.Sprintf("%.2f", quantile(.99, "poller_schedule_lag_seconds", before, after)),
				fmt.Sprintf("%.2f", quantile(.99, "poller_schedule_lag_seconds", after, last)),
				fmt.Sprintf("%.2f", 1000*(after.cpu-before.cpu)/polls),
				mebibytes(rest.rss), mebibytes(after.rss), fmt.Sprintf("%.1f", float64(after.rss)/float64(n)/1024),
				fmt.Sprintf("%.0f", after.values["go_goroutines"]),
				fmt.Sprintf("%.2f", started.Seconds()), fmt.Sprintf("%.2f", reloaded.Seconds()),
			})
		})
	}
	printTable("Accounts polled every minute, half IMAP, half POP3, over SSL_TLS; one poll in a hundred finds a message", []string{
		"accounts", "polls", "lag s, median up to", "lag s, 99 % up to", "the same in the minute after a reload", "CPU ms a poll",
		"MiB at the start", "MiB resident", "KiB an account", "goroutines", "start s", "reload s",
	}, rows)
}

// TestMemory looks at a daemon with nothing to do, and then at one whose polls
// all wait for the rest of a message.
func TestMemory(t *testing.T) {
	var rows [][]string
	for _, half := range []int{0, 1} {
		const inFlight = 64
		s := newCheap(t, 1)
		s.held = make(chan struct{})
		all := s.connections(2*inFlight, "@every 15s", t.TempDir())
		connections := make([]map[string]any, inFlight)
		for i := range connections {
			connections[i] = all[2*i+half]
		}
		w, _ := watch(t, s, connections)
		rest := w.sample()
		for s.messages.Load() < inFlight {
			<-time.After(time.Second)
		}
		busy := w.sample()
		close(s.held)
		heap := func(m sample) float64 {
			return m.values["go_memstats_heap_inuse_bytes"] + m.values["go_memstats_stack_inuse_bytes"]
		}
		rows = append(rows, []string{
			fmt.Sprint(connections[0]["store_type"]), mebibytes(rest.rss), mebibytes(busy.rss),
			fmt.Sprintf("%.0f", float64(busy.rss-rest.rss)/inFlight/1024), fmt.Sprintf("%.0f", (heap(busy)-heap(rest))/inFlight/1024),
		})
	}
	printTable("A daemon with 64 accounts, at rest and with a poll of each in flight, over SSL_TLS",
		[]string{"store", "MiB at rest", "MiB in flight", "KiB a poll", "of that heap and stacks"}, rows)
}

// TestSoak looks for what grows.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		return
	}
	s := newCheap(t, 10)
	w, _ := watch(t, s, s.connections(scaled(500), "@every 10s", t.TempDir()))
	var rows [][]string
	look := func(title string) {
		m := w.sample()
		descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, []string{
			title, fmt.Sprintf("%.0f", m.values["poller_schedule_lag_seconds_count"]), fmt.Sprint(s.messages.Load()),
			fmt.Sprintf("%.0f", m.values["go_goroutines"]), fmt.Sprintf("%.1f", m.values["go_memstats_heap_inuse_bytes"]/(1<<20)),
			mebibytes(m.rss), fmt.Sprint(len(descriptors)), fmt.Sprintf("%.0f", m.values["poller_job_failures_total"]),
		})
	}
	for i := range 7 {
		<-time.After(*soak / 7)
		look(fmt.Sprint((*soak * time.Duration(i+1) / 7).Round(time.Second)))
	}
	printTable("What grows", []string{"after", "polls", "messages", "goroutines", "heap MiB", "MiB resident", "descriptors", "failures"}, rows)
}
