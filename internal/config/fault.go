package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is what is wrong, or doubtful, at one place of a file.
type Fault struct {
	File         string
	Line, Column int // from 1, in characters; 0 when it concerns the file as a whole
	Message      string
}

// Error is "PATH:LINE:COL: message", on which other programs rely.
func (f Fault) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Faults are all the faults of a configuration, ordered by file, line and
// column.
type Faults []Fault

// Error is one line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// ordered are the faults in their order, each once: a fault in what several
// connections share shows in all of them.
func (f Faults) ordered() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(f)
}

// nearest are up to n of the known words, those that differ least from word
// first, and none that differs in more than most letters.
func nearest(word string, known []string, n, most int) []string {
	type candidate struct {
		word string
		far  int
	}
	var found []candidate
	for _, k := range known {
		if far := distance(strings.ToLower(word), strings.ToLower(k)); far <= most {
			found = append(found, candidate{k, far})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	words := make([]string, min(n, len(found)))
	for i := range words {
		words[i] = found[i].word
	}
	return words
}

// distance is how many octets have to be changed, added or taken away to make
// one word of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// either lists words as a sentence does.
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
