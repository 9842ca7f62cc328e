package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/demo"
	"mailpoller/internal/mail"
)

// arrivalInterval is how far apart the messages of the demo arrive.
const arrivalInterval = 2 * time.Second

func newDemo(c *cli) *cobra.Command {
	once := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a mail server with sample messages, and the daemon polling it",
		Long: `Demo starts mail servers in this process, with sample messages that arrive one
by one, and the daemon, which polls them into a temporary directory. With --once
all messages are there at once, and the demo ends when they are saved.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context(), once) }),
	}
	cmd.Flags().BoolVar(&once, "once", false, "end when all messages are saved")
	return cmd
}

func (c *cli) demo(ctx context.Context, once bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "poller-demo-")
	if err != nil {
		return err
	}
	every := arrivalInterval
	if once {
		every = 0
	}
	servers, err := demo.Start(ctx, every)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	path, err := servers.WriteConfig(dir)
	if err != nil {
		return err
	}
	conf, err := config.Load(path)
	if err != nil {
		return err
	}
	conf.Log.Level = cmp.Or(string(c.level), "warn")
	log, level := c.logger(conf)

	show := &arrivals{c: c, total: servers.Total()}
	if once {
		show.all = cancel
	}
	ctx = mail.WithTrace(ctx, &mail.Trace{Saved: show.saved})
	a, err := app.Open(ctx, conf, build(), log, level)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	err = a.Run(ctx, nil, func(listen string) {
		fmt.Fprintf(c.stdout, "Polling %s; messages are saved below %s\nConfiguration: %s\nMetrics:       %s/metrics\n",
			quantity(len(conf.Connections), "connection"), dir, path, listen)
		if !once {
			fmt.Fprintln(c.stdout, "Stop with Ctrl-C.")
		}
		fmt.Fprintln(c.stdout)
	})
	fmt.Fprintf(c.stdout, "\n%d of %s saved below %s\n", show.count(), quantity(show.total, "message"), dir)
	return err
}

// arrivals prints a line for each message saved.
type arrivals struct {
	c     *cli
	total int
	all   func() // unless nil, called when all messages are saved

	mu sync.Mutex
	n  int
}

func (a *arrivals) saved(_ mail.Ref, path string, size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	fmt.Fprintf(a.c.stdout, "%2d  %-9s %9s  %s\n", a.n, filepath.Base(filepath.Dir(path)), octets(size), path)
	if a.n == a.total && a.all != nil {
		a.all()
	}
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}
