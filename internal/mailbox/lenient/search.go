package lenient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// search passes on the answer to SEARCH. The numbers come in any order: they are
// put into theirs, which takes go-imap the least work. The line may be of any
// length that the wire allows.
func (r *Reader) search(args []byte, long bool) error {
	var found []uint32
	number := make([]byte, 0, 16) // that a piece of the line ends in
	take := func(piece []byte) error {
		for len(piece) > 0 {
			end := bytes.IndexAny(piece, " \t")
			if end < 0 {
				number = append(number, piece[:min(len(piece), cap(number)-len(number))]...)
				return nil
			}
			number = append(number, piece[:min(end, cap(number)-len(number))]...)
			piece = piece[end+1:]
			if len(number) > 0 {
				n, ok := parseNumber(number)
				if !ok {
					return errorf("server finds a message that cannot be: %q", number)
				}
				found, number = append(found, n), number[:0]
			}
		}
		return nil
	}
	done := false // what follows the numbers (RFC 7162, section 3.1.5) is not needed
	for piece := bytes.Clone(args); ; {
		if before, _, ok := bytes.Cut(piece, []byte("(")); !done {
			done = ok
			if err := take(before); err != nil {
				return err
			}
		}
		if !long {
			break
		}
		part, err := r.src.ReadSlice('\n')
		if long = errors.Is(err, bufio.ErrBufferFull); err != nil && !long {
			return unexpected(err)
		}
		if piece = part; !long {
			piece = bytes.TrimRight(part, "\r\n")
		}
	}
	if err := take([]byte(" ")); err != nil {
		return err
	}
	slices.Sort(found)
	r.out = append(r.out[:0], "* SEARCH"...)
	for _, n := range slices.Compact(found) {
		r.out = strconv.AppendUint(append(r.out, ' '), uint64(n), 10)
	}
	r.out = append(r.out, "\r\n"...)
	return nil
}

// esearch passes on the answer to SEARCH RETURN (RFC 4731).
func (r *Reader) esearch(l *lexer) error {
	var out strings.Builder
	out.WriteString("* ESEARCH")
	uid := false
	for {
		kind, word := l.token()
		switch kind {
		case closed:
			if !l.over() {
				continue
			}
			return r.pass("%s\r\n", out.String())
		case list: // the correlator
			_, _ = l.token()
			_, tag := l.token()
			if err := l.skipList(); err != nil {
				return err
			}
			if isAtom(tag) && !uid {
				fmt.Fprintf(&out, " (TAG %q)", tag)
			}
			continue
		case literal:
			if err := l.finish(); err != nil {
				return err
			}
			continue
		}
		switch name := strings.ToUpper(string(word)); name {
		case "UID":
			uid = true
			out.WriteString(" UID")
		case "MIN", "MAX", "COUNT":
			_, value := l.token()
			if n, ok := parseNumber(value); ok {
				fmt.Fprintf(&out, " %s %d", name, n)
			} else if string(value) != "0" { // none, of a COUNT; some say it of MIN and MAX too
				return errorf("server answers a search with %s %.100q", name, value)
			}
		case "ALL":
			_, value := l.token()
			set, err := sorted(value)
			if err != nil {
				return err
			}
			if set != "" {
				out.WriteString(" ALL " + set)
			}
		default:
			if _, _, err := l.value(); err != nil {
				return err
			}
		}
		if !uid {
			return errorf("server answers a search for UIDs with message numbers")
		}
	}
}

// sorted is a set of numbers in their order.
func sorted(set []byte) (string, error) {
	type span struct{ lo, hi uint32 }
	var all []span
	for part := range bytes.SplitSeq(set, []byte(",")) {
		if len(part) == 0 {
			continue
		}
		first, last, isRange := bytes.Cut(part, []byte(":"))
		if !isRange {
			last = first
		}
		lo, ok := parseNumber(first)
		hi, alsoOK := parseNumber(last)
		if !ok || !alsoOK {
			return "", errorf("server finds messages that cannot be: %.100q", part)
		}
		all = append(all, span{min(lo, hi), max(lo, hi)})
	}
	slices.SortFunc(all, func(a, b span) int {
		switch {
		case a.lo < b.lo:
			return -1
		case a.lo > b.lo:
			return 1
		}
		return 0
	})
	var out []byte
	for i := 0; i < len(all); {
		s := all[i]
		for i++; i < len(all) && uint64(all[i].lo) <= uint64(s.hi)+1; i++ {
			s.hi = max(s.hi, all[i].hi)
		}
		if len(out) > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(s.lo), 10)
		if s.hi > s.lo {
			out = strconv.AppendUint(append(out, ':'), uint64(s.hi), 10)
		}
	}
	return string(out), nil
}

// list keeps the name of a mailbox.
func (r *Reader) list(l *lexer) error {
	kind, _ := l.token()
	selectable := true
	for kind == list { // attributes
		var word []byte
		if kind, word = l.token(); kind == atom {
			selectable = selectable && !bytes.EqualFold(word, []byte(`\Noselect`)) && !bytes.EqualFold(word, []byte(`\NonExistent`))
			kind = list
		}
	}
	if _, _, err := l.value(); err != nil { // the delimiter
		return err
	}
	name, ok, err := l.value()
	if err != nil {
		return err
	}
	// A name without quotes may have blanks in it, which it should not.
	if rest := l.line[l.pos:l.end]; ok && !l.lit && len(rest) > 0 && !bytes.ContainsAny(rest, `("`) && l.pos > 0 && l.line[l.pos-1] != '"' {
		name = append(bytes.Clone(name), rest...)
	}
	if ok && selectable && len(name) > 0 {
		r.mu.Lock()
		if r.want.Names && len(r.names) < maxNames && r.keep(len(name)) {
			r.names = append(r.names, MailboxName(string(name)))
		}
		r.mu.Unlock()
	}
	return l.finish()
}

// statusData keeps the answer to STATUS, of whatever mailbox: none is asked for
// but the one that is wanted.
func (r *Reader) statusData(l *lexer) error {
	// The name may have anything in it; the items are what the line ends in.
	for l.lit {
		if _, err := l.literal(); err != nil {
			return err
		}
	}
	l.pos = max(l.pos, bytes.LastIndexByte(l.line[:l.end], '('))
	if l.pos < 0 {
		return nil
	}
	l.take('(')
	for {
		kind, item := l.token()
		if kind != atom {
			return l.finish()
		}
		name := strings.ToUpper(string(item))
		_, value := l.token()
		if n, ok := parseNumber(value); ok {
			r.mu.Lock()
			if r.status == nil {
				r.status = make(map[string]uint32)
			}
			if len(r.status) < maxKept {
				r.status[name] = n
			}
			r.mu.Unlock()
		}
	}
}

// keep reports whether there is room for so many more bytes. The lock is held.
func (r *Reader) keep(n int) bool {
	r.kept += n
	return r.kept <= maxOwn
}

var _ io.Reader = (*Reader)(nil)
