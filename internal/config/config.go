// Package config reads the configuration file. Every key that there is stands
// in a table (keys.go) with what it accepts, and every fault of a file is
// reported in one go, with its place, what was found and what is accepted.
package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// Config is a configuration that has been validated and completed with its
// defaults. It is not changed after Load.
type Config struct {
	Path                 string // as given to Load
	Listen               string // host:port, or unix:PATH; empty for none
	StateDir             string // absolute, unless $STATE_DIRECTORY is not
	ShutdownGrace        time.Duration
	Log                  Log
	Limits               Limits
	Profiling            bool // serve /debug/pprof/ where only this machine reaches the listener
	MetricsPerConnection bool // series for each connection, not for all together
	APITokens            []APIToken
	Tracing              Tracing
	Keys                 []mail.ClientKey
	Connections          []mail.Connection // in the order of the file, then of the included files
	Warnings             Faults            // what works, but may not be meant

	caFile  string
	caFiles []string // of the connections
}

// Log says how the log is written.
type Log struct {
	Level   string // debug, info, warn or error
	Format  string // auto, json or console
	Headers bool   // the line of a saved message has its sender and subject
}

// Limits bound the polls in progress at once.
type Limits struct{ Polls, PollsPerHost int }

// top is the top level of the main file.
type top struct {
	*Config
	include     string
	defaults    node
	connections node
}

// Load reads the file at path and those it includes. The error is a Faults
// that holds all there is to say against them. Files that hold certificates
// are read, secrets are not.
func Load(path string) (*Config, error) {
	c, l := read(path)
	if len(l.faults) == 0 && l.limit == "" {
		c.Warnings = l.warnings.ordered()
		return c, nil
	}
	faults := l.faults.ordered()
	if l.limit != "" {
		faults = append(faults, Fault{File: path, Message: l.limit})
	}
	return nil, faults
}

// StateDir is the state directory that the file at path names, whatever else
// is wrong with it: a daemon that runs with an older version of the file can
// still be found there.
func StateDir(path string) string {
	c, l := read(path)
	if l.values > 0 {
		return c.StateDir
	}
	if data, _, err := slurp(path); err == nil { // it is no YAML
		if named := stateDirLine.FindSubmatch(data); named != nil {
			return string(named[1])
		}
	}
	return c.StateDir
}

// stateDirLine finds the directory in a file that is no YAML, or no JSON.
var stateDirLine = regexp.MustCompile(`(?m)^\s*"?state_dir"?\s*:\s*["']?(/[^"'#,\n]*[^"'#,\s])`)

// newConfig is one of which nothing is given.
func newConfig(path string) *Config {
	return &Config{
		Path:          path,
		Listen:        "127.0.0.1:9469",
		StateDir:      "/var/lib/poller",
		ShutdownGrace: 30 * time.Second, MetricsPerConnection: true,
		Log:    Log{Level: "info", Format: "auto", Headers: true},
		Limits: Limits{Polls: 64, PollsPerHost: 8},
	}
}

// read reads as much of a configuration as can be read.
func read(path string) (*Config, *loader) {
	c := newConfig(path)
	l := newLoader()
	l.load(c)
	return c, l
}

// load reads everything. The parts of the main file are read in the order in
// which they depend on each other, wherever they stand.
func (l *loader) load(c *Config) {
	root := l.read(c.Path)
	if root == nil {
		return
	}
	t := top{Config: c}
	usual := c.StateDir
	// systemd separates several state directories by colons.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		c.StateDir = dir
	}
	at := decode(l, *root, topKeys, &t)
	if _, said := at["state_dir"]; !said && c.StateDir != usual {
		l.warn(*root, "state_dir: %s comes from $STATE_DIRECTORY, which only the daemon has: commands use %s, and with a journal of their own deliver again what is delivered; write it here", c.StateDir, usual)
	}

	base := section{settings: newSettings()}
	if t.defaults.Node != nil {
		base.at = decode(l, t.defaults, connectionKeys, &base.settings)
		if n, ok := base.at["name"]; ok {
			l.fault(n, "name: found %s among the defaults; accepted: any other key of a connection", n.found())
		}
	}
	var all []node
	if t.connections.Node != nil {
		all = l.items(t.connections)
	}
	if n, ok := at["include"]; ok && t.include != "" {
		all = append(all, l.included(c.Path, t.include, n)...)
	}
	if len(all) == 0 && len(l.faults) == 0 {
		l.warn(*root, "connections: there are none, so nothing is polled")
	}
	c.Connections = make([]mail.Connection, 0, len(all))
	c.caFiles = make([]string, 0, len(all))
	taken := make(map[string]node, len(all))
	twins := make(map[string]string)
	for _, n := range all {
		if l.limit != "" {
			return
		}
		s := l.connection(n, &base, c)
		if s == nil {
			continue
		}
		l.named(s, taken, twins)
		c.Connections = append(c.Connections, s.Connection)
		c.caFiles = append(c.caFiles, s.caFile)
	}
}

// included reads the files that a pattern names, in the order of their names.
func (l *loader) included(main, pattern string, at node) []node {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(main), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		l.warn(at, "include: no file matches %s", pattern)
	}
	var nodes []node
	for _, path := range paths {
		if path == filepath.Clean(main) {
			l.fault(at, "include: found %s, which matches this file too; accepted: a pattern that does not", at.found())
			continue
		}
		if n := l.read(path); n != nil {
			nodes = append(nodes, *n)
		}
	}
	return nodes
}
