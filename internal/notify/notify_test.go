package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailpoller/internal/notify"
)

// TestMain is also the program that is run.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "program" {
		os.Exit(program(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func program(args []string) int {
	switch args[0] {
	case "record":
		input, _ := io.ReadAll(os.Stdin)
		dir, _ := os.Getwd()
		text, _ := json.Marshal(map[string]any{"args": args[2:], "input": string(input), "env": os.Environ(), "dir": dir, "group": syscall.Getpgrp() == os.Getpid()})
		_ = os.WriteFile(args[1], text, 0o600)
	case "fail":
		fmt.Fprint(os.Stderr, strings.Repeat("x", 10000), "\nno \x1b[31mspace\r\nleft")
		return 3
	case "unread":
		return 0
	case "hang":
		child := exec.Command(os.Args[0], "program", "child")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		_ = child.Start()
		_ = os.WriteFile(args[1], fmt.Append(nil, child.Process.Pid), 0o600)
		_ = unix.Pause() // until it is killed
	case "leave":
		child := exec.Command(os.Args[0], "program", "child")
		child.Stderr = os.Stderr
		_ = child.Start()
	case "child":
		_ = unix.Pause() // until it is killed
	}
	return 0
}

func command(args ...string) notify.Command {
	return notify.Command{Argv: append([]string{os.Args[0], "program"}, args...), Timeout: time.Minute, Environment: []string{"POLLER_CONNECTION=orders"}}
}

func TestTheProgramIsGivenWhatItNeeds(t *testing.T) {
	t.Setenv("POLLER_SECRET", "canary")
	file := t.TempDir() + "/seen"
	if err := command("record", file).Run(t.Context(), []byte(`{"a":1}`), "/srv/a b", "$(x)"); err != nil {
		t.Fatal(err)
	}
	var seen struct {
		Args, Env  []string
		Input, Dir string
		Group      bool
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &seen)
	}
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%q", seen.Args) != `["/srv/a b" "$(x)"]` || seen.Input != `{"a":1}` || seen.Dir != "/" || !seen.Group {
		t.Errorf("%+v", seen)
	}
	environment := strings.Join(seen.Env, "\n")
	if !strings.Contains(environment, "POLLER_CONNECTION=orders") || !strings.Contains(environment, "PATH=") || strings.Contains(environment, "canary") {
		t.Errorf("%s", environment)
	}
}

func TestFailuresSayWhy(t *testing.T) {
	t.Parallel()
	err := command("fail").Run(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "exit status 3: ") || !strings.HasSuffix(err.Error(), "x no [31mspace left") || len(err.Error()) > 4200 {
		t.Errorf("%v", err)
	}
	missing := notify.Command{Argv: []string{"/nowhere/program"}, Timeout: time.Minute}
	if err := missing.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "/nowhere/program") {
		t.Errorf("%v", err)
	}
	if err := command("unread").Run(t.Context(), make([]byte, 1<<20)); err != nil {
		t.Errorf("a program need not read its input: %v", err)
	}
}

// TestAProgramThatHangsIsKilledWithItsChildren: at the timeout, and when the
// daemon stops.
func TestAProgramThatHangsIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/child"
	hanging := command("hang", file)
	hanging.Timeout = 2 * time.Second
	if err := hanging.Run(t.Context(), nil); err == nil || err.Error() != "it took longer than 2s" {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		t.Fatal(err)
	}
	if fd, err := unix.PidfdOpen(child, 0); err == nil { // it is about to end, or a zombie
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if ready != 1 || err != nil {
			t.Errorf("its child %d lives: %v", child, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := command("hang", file).Run(ctx, nil); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("%v", err)
	}
}

// TestAProgramThatLeavesAChildBehindDidItsWork, also when the child holds its
// pipes for longer than the program itself may take.
func TestAProgramThatLeavesAChildBehindDidItsWork(t *testing.T) {
	t.Parallel()
	leaving := command("leave")
	leaving.Timeout = 3 * time.Second
	if err := leaving.Run(t.Context(), nil); err != nil {
		t.Errorf("%v", err)
	}
}
