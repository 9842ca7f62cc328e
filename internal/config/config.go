// Package config reads the configuration file: every key that there is, its
// limits and its default stand in a table (keys.go), and every fault of a file
// is reported in one go, with its place, what was found and what is accepted.
package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// Config is a configuration that has been validated and completed with its
// defaults. It is not changed after Load.
type Config struct {
	Path          string // as given to Load
	Listen        string // host:port, or unix:PATH; empty for none
	StateDir      string
	ShutdownGrace time.Duration
	Log           Log
	Limits        Limits
	Connections   []mail.Connection // in the order of the file, then of the included files
	Warnings      Faults            // what works, but may not be meant

	caFile string
	drafts []*draft // what the connections were made of, for Show
}

// Log says how the log is written.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, json or console
}

// Limits bound the polls in progress at once.
type Limits struct{ Polls, PollsPerHost int }

// Fault is what is wrong at one place of a file.
type Fault struct {
	File         string
	Line, Column int // from 1; 0 when the fault is that of the file as a whole
	Message      string
}

// Error is "PATH:LINE:COL: message", on which other programs rely.
func (f Fault) Error() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Faults are all the faults of a configuration, in the order of their places.
type Faults []Fault

// Error is one line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

func (f Faults) sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// defaultStateDir is where state is kept when neither the file nor systemd
// says otherwise.
const defaultStateDir = "/var/lib/poller"

// Load reads the file at path and those it includes. The error is a Faults
// that holds all there is to say against them.
func Load(path string) (*Config, error) {
	l := newLoader(path)
	c := &Config{
		Path:          path,
		Listen:        "127.0.0.1:9469",
		StateDir:      defaultStateDir,
		ShutdownGrace: 30 * time.Second,
		Log:           Log{Level: "info", Format: "auto"},
		Limits:        Limits{Polls: 64, PollsPerHost: 8},
	}
	// systemd separates several state directories by colons.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		c.StateDir = dir
	}
	l.load(c)
	l.warnings.sort()
	c.Warnings = l.warnings
	if len(l.faults) > 0 {
		l.faults.sort()
		return nil, l.faults
	}
	return c, nil
}

// file is the top level of a configuration.
type file struct {
	*Config
	include     string
	defaults    node
	connections []node
	at          map[string]node
}

// load reads everything. What is below the top level is read after it, since
// defaults and include apply wherever in the file they stand.
func (l *loader) load(c *Config) {
	root, ok := l.read(c.Path)
	if !ok {
		return
	}
	f := &file{Config: c}
	f.at = decode(l, root, topKeys, f)

	base := newDraft()
	if f.defaults.Node != nil {
		decode(l, f.defaults, defaultKeys(), base)
	}
	var roots []node
	roots = append(roots, f.connections...)
	roots = append(roots, l.included(f)...)
	named := make(map[string]node)
	for _, n := range roots {
		d := base.clone()
		d.where = n
		d.at = decode(l, n, connectionKeys, d)
		l.require(d, named)
		c.drafts = append(c.drafts, d)
	}
	if len(roots) == 0 && len(l.faults) == 0 {
		l.warn(root, "no connections: nothing will be polled")
	}
	c.Connections = make([]mail.Connection, len(c.drafts))
	for i, d := range c.drafts {
		c.Connections[i] = l.finish(d, c)
	}
	l.lookAlike(c.drafts)
}

// included reads the files that include: names, in the order of their names.
func (l *loader) included(f *file) []node {
	if f.include == "" {
		return nil
	}
	pattern := f.include
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(f.Path), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		l.fault(f.at["include"], "include: found %q, which is no pattern of file names: %v", f.include, err)
		return nil
	}
	if len(paths) == 0 {
		l.warn(f.at["include"], "include: no file matches %s", pattern)
	}
	var nodes []node
	for _, path := range paths {
		if n, ok := l.read(path); ok {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
