package servers

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"

	"mailpoller/internal/mail"
)

// tally is how many cells hold, for the table that ends a run.
var tally counts

type counts struct {
	sync.Mutex
	rows map[row]*count
}

type row struct {
	program  string
	store    mail.StoreType
	security mail.Security
}

type count struct {
	cells, hold int
	slowest     float64 // seconds that the jobs of one cell took, beside those of all others
}

// count notes what came of a cell.
func (c *counts) count(program string, tr *trial, security mail.Security, holds bool) {
	c.Lock()
	defer c.Unlock()
	if c.rows == nil {
		c.rows = make(map[row]*count)
	}
	key := row{program, tr.store, security}
	if c.rows[key] == nil {
		c.rows[key] = &count{}
	}
	r := c.rows[key]
	r.cells++
	if holds {
		r.hold++
	}
	took := 0.0
	for _, v := range tr.jobs {
		took += v.Duration
	}
	r.slowest = max(r.slowest, took)
}

// print prints the table.
func (c *counts) print(w io.Writer) {
	if len(c.rows) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "| server\t| store\t| security\t| cells\t| hold\t| slowest cell\t|")
	fmt.Fprintln(table, "| ---\t| ---\t| ---\t| ---:\t| ---:\t| ---:\t|")
	for _, r := range slices.SortedFunc(maps.Keys(c.rows), func(a, b row) int {
		return cmp.Or(cmp.Compare(a.program, b.program), cmp.Compare(a.store, b.store), cmp.Compare(a.security, b.security))
	}) {
		fmt.Fprintf(table, "| %s\t| %s\t| %s\t| %d\t| %d\t| %.1f s\t|\n", r.program, r.store, r.security, c.rows[r].cells, c.rows[r].hold, c.rows[r].slowest)
	}
	_ = table.Flush() // standard output; nobody is left to tell
}
