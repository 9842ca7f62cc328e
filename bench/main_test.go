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
	rounds = flag.Int("bench.rounds", 3, "how often each program runs each case; five times as often where a round takes less than 10 s, and once what takes longer itself")
	scale  = flag.Float64("bench.scale", 1, "what part of the messages and accounts of each case there is")
)

// scaled is n at the scale of this run.
func scaled(n int) int { return max(1, int(float64(n)**scale)) }

// The programs that are built for the run.
var binary, floorBinary string

// TestMain gives the run a file system of its own, ext4 with its journal, on
// which everything lies: the mailboxes, the state and the folders. On one
// without a journal a new file costs more the more were removed a moment ago,
// that is by the run before.
func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	dir, err := os.MkdirTemp("", "poller-bench")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	disk, image := filepath.Join(dir, "disk"), filepath.Join(dir, "image")
	for _, argv := range [][]string{
		{"chmod", "755", dir},
		{"mkdir", disk},
		{"truncate", "--size", "32G", image},
		{"mkfs.ext4", "-q", "-E", "lazy_itable_init=0", image},
		{"mount", "-o", "loop", image, disk},
		{"chmod", "1777", disk},
	} {
		if !succeeds(argv...) {
			return
		}
	}
	defer succeeds("umount", "--lazy", disk)
	if err := os.Setenv("TMPDIR", disk); err != nil {
		panic(err)
	}
	binary, floorBinary = filepath.Join(dir, "poller"), filepath.Join(dir, "floor")
	for path, pkg := range map[string]string{binary: "mailpoller/cmd/poller", floorBinary: "mailpoller/bench/floor"} {
		if !succeeds("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg) {
			return
		}
	}
	code = m.Run()
}

// succeeds runs a command of the preparation.
func succeeds(argv ...string) bool {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return cmd.Run() == nil
}
