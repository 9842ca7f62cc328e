//go:build bench

package bench

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// cost is what one run of a program took.
type cost struct {
	seconds float64 // by the clock, from its start to its end
	cpu     float64 // seconds, of the process and those it started
	peak    int64   // octets: the most that one process of it had resident
}

// limit bounds one run of a program.
const limit = 15 * time.Minute

// execute runs a program to its end and measures it. Its exit code is only
// logged, since that of a peer can mean anything: what it did is looked at.
func execute(t *testing.T, env []string, argv ...string) (c cost, stdout string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { c.peak = watchPeak(cmd.Process.Pid, done) })
	err := cmd.Wait()
	c.seconds = time.Since(start).Seconds()
	close(done)
	watch.Wait()
	c.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if err != nil {
		t.Logf("%.500q: %v\n%.1000s\n%.1000s", argv, err, out.String(), errs.String())
	}
	return c, out.String()
}

// watchPeak is the most memory that a process, or one that it started, had
// resident (VmHWM, proc(5)), as of the last look before it ended. What the
// system counts for a child that has ended (ru_maxrss) begins with what its
// parent had.
func watchPeak(pid int, done <-chan struct{}) (peak int64) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		for _, p := range family(pid) {
			peak = max(peak, statusOf(p, "VmHWM:"))
		}
		select {
		case <-done:
			return peak
		case <-look.C:
		}
	}
}

// family is a process and all that it started, and they.
func family(pid int) []int {
	all := []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid)) // gone when the process is
	for field := range strings.FieldsSeq(string(children)) {
		if child, err := strconv.Atoi(field); err == nil {
			all = append(all, family(child)...)
		}
	}
	return all
}

// statusOf is a line of a process's status, in octets; 0 when it is gone.
func statusOf(pid int, key string) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			var kib int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// median is the middle one of some values; of an even number, the lower one.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// medians is the median of each part.
func medians(costs []cost) cost {
	var seconds, cpu []float64
	var peak []int64
	for _, c := range costs {
		seconds, cpu, peak = append(seconds, c.seconds), append(cpu, c.cpu), append(peak, c.peak)
	}
	return cost{median(seconds), median(cpu), median(peak)}
}

// printTable prints a table as Markdown. The first column is text.
func printTable(title string, header []string, rows [][]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n| %s |\n|", title, strings.Join(header, " | "))
	for i := range header {
		b.WriteString(map[bool]string{true: " --- |", false: " ---: |"}[i == 0])
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "\n| %s |", strings.Join(r, " | "))
	}
	fmt.Fprintln(os.Stdout, b.String())
}
