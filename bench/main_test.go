//go:build bench

// Package bench measures the real binary against a real Dovecot, beside the
// programs that do the same job and a floor (bench/floor). make bench runs it;
// what it prints can be pasted into docs/performance.md.
//
// A single case, less of it, and fewer rounds:
//
//	make bench BENCH='-run TestCases/5000/IMAP -bench.rounds 1 -bench.scale 0.1'
package bench

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	rounds = flag.Int("bench.rounds", 3, "how often each program runs each case; the slow ones run once")
	scale  = flag.Float64("bench.scale", 1, "what part of the messages and accounts of each case there is")
)

// scaled is n at the scale of this run.
func scaled(n int) int { return max(1, int(float64(n)**scale)) }

// The programs that are built for the run.
var binary, floorBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "poller-bench")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, floorBinary = filepath.Join(dir, "poller"), filepath.Join(dir, "floor")
	for path, pkg := range map[string]string{binary: "mailpoller/cmd/poller", floorBinary: "mailpoller/bench/floor"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := build.Run(); err != nil {
			return 1
		}
	}
	return m.Run()
}
