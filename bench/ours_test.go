//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mailpoller/internal/mailtest"
)

// configure writes our configuration for a job.
func (j *job) configure() site {
	j.t.Helper()
	disposition, most, pull := "KEEP", 0, "GET_FIRST_UNREAD_MESSAGE"
	switch j.mode {
	case deleteAll:
		disposition = "DELETE"
	case oldest:
		most = 1
	case newest:
		most, pull = 1, "GET_LAST_UNREAD_MESSAGE"
	}
	var connections []map[string]any
	for _, user := range j.users {
		c := map[string]any{
			"name": user, "host": mailtest.Host, "port": j.port, "username": user, "password": j.password,
			"store_type": j.store, "connection_security": j.security, "folder": j.mkdir(j.outOf(user)),
			"disposition": disposition, "pull_disposition": pull, "max_messages": most,
			"schedule": "0 0 1 1 *", // by the daemon: not while it is measured
		}
		if j.ca != "" {
			c["ca_file"] = j.ca
		}
		connections = append(connections, c)
	}
	s := site{j.dir, filepath.Join(j.dir, "poller.yaml")}
	s.configure(j.t, connections...)
	execute(j.t, nil, binary, "jobs", "--config", s.config) // makes the state, which is there but for the first start of all
	return s
}

// ours is `poller poll` in a process of its own.
func ours() program {
	return program{
		name:     "poller poll",
		settings: "max_messages: 0, everything else by default; syncs each file, the folder and a journal",
		can:      func(*job) bool { return true },
		prepare: command(func(j *job) []string {
			return append([]string{binary, "poll", "--json", "--config", j.configure().config}, j.users...)
		}),
	}
}

// daemon is the same poll by a daemon that runs already. Its time is that from
// the start of the first job to the end of the last; its memory is what it has resident at most.
func daemon() program {
	return program{
		name:     "poller run",
		settings: "the same by a daemon that runs already, asked by `poller poll`: the time of the jobs, without that of the command",
		can:      func(*job) bool { return true },
		prepare: func(j *job) func() cost {
			s := j.configure()
			pid := j.start(s)
			return func() cost {
				j.must(os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)) // VmHWM begins anew
				before := j.cpuOf(pid)
				m := s.poll(j.t, j.users...)
				return cost{m.duration, j.cpuOf(pid) - before, statusOf(pid, "VmHWM:")}
			}
		},
	}
}

// start runs the daemon until the test ends, and returns when it is ready.
func (j *job) start(s site) (pid int) {
	j.t.Helper()
	cmd := exec.Command(binary, "run", "--config", s.config)
	said, err := cmd.StderrPipe()
	j.must(err)
	j.must(cmd.Start())
	j.t.Cleanup(func() {
		j.must(cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait() // how it ends is another test's business
	})
	ready := make(chan bool)
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"msg":"polling"`) {
				ready <- true
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			j.t.Fatal("the daemon ended before it was ready")
		}
	case <-time.After(time.Minute):
		j.t.Fatal("the daemon did not get ready")
	}
	return cmd.Process.Pid
}

func (j *job) must(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

// ticks are in a second of proc(5)'s times, on every Linux that Go runs on.
const ticks = 100

// cpuOf is how many seconds a process has computed for.
func (j *job) cpuOf(pid int) float64 {
	j.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	j.must(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system float64
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	j.must(err)
	return (user + system) / ticks
}
