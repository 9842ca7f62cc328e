package mail

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// UIDRange is the IMAP UIDs from Lo to Hi, both included.
type UIDRange struct{ Lo, Hi uint32 }

// UIDSet is a set of IMAP UIDs as ranges: ascending, disjoint, with a gap
// between any two. What one range holds costs no memory, however much it is,
// so a set as large as a server can name it stays as small as it is written.
type UIDSet []UIDRange

// Add puts the UIDs from lo to hi into the set.
func (s *UIDSet) Add(lo, hi uint32) {
	if lo > hi {
		lo, hi = hi, lo
	}
	set := *s
	// The ranges from first to last-1 touch lo..hi and melt into it.
	first, _ := slices.BinarySearchFunc(set, lo, func(r UIDRange, lo uint32) int {
		if uint64(r.Hi)+1 < uint64(lo) {
			return -1
		}
		return 1
	})
	last := first
	for last < len(set) && uint64(set[last].Lo) <= uint64(hi)+1 {
		lo, hi = min(lo, set[last].Lo), max(hi, set[last].Hi)
		last++
	}
	*s = slices.Replace(set, first, last, UIDRange{lo, hi})
}

// Remove takes uid out of the set.
func (s *UIDSet) Remove(uid uint32) {
	i, ok := s.find(uid)
	if !ok {
		return
	}
	r := (*s)[i]
	var rest []UIDRange
	if r.Lo < uid {
		rest = append(rest, UIDRange{r.Lo, uid - 1})
	}
	if uid < r.Hi {
		rest = append(rest, UIDRange{uid + 1, r.Hi})
	}
	*s = slices.Replace(*s, i, i+1, rest...)
}

// Minus is the part of s that is not in other.
func (s UIDSet) Minus(other UIDSet) UIDSet {
	var rest UIDSet
next:
	for _, r := range s {
		first, _ := other.find(r.Lo)
		for _, o := range other[first:] {
			if o.Lo > r.Hi {
				break
			}
			if o.Lo > r.Lo {
				rest = append(rest, UIDRange{r.Lo, o.Lo - 1})
			}
			if o.Hi >= r.Hi {
				continue next
			}
			r.Lo = o.Hi + 1
		}
		rest = append(rest, r)
	}
	return rest
}

// All yields the UIDs of the set, ascending or descending.
func (s UIDSet) All(descending bool) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range s {
			r := s[i]
			if descending {
				r = s[len(s)-1-i]
			}
			for n := r.Hi - r.Lo; ; n-- { // neither end may be stepped over
				uid := r.Hi - n
				if descending {
					uid = r.Lo + n
				}
				if !yield(uid) {
					return
				}
				if n == 0 {
					break
				}
			}
		}
	}
}

// And is what s and other have in common.
func (s UIDSet) And(other UIDSet) UIDSet { return s.Minus(s.Minus(other)) }

// Contains reports whether uid is in the set.
func (s UIDSet) Contains(uid uint32) bool {
	_, ok := s.find(uid)
	return ok
}

// find is the index of the first range that ends at or after uid, and whether
// it holds uid.
func (s UIDSet) find(uid uint32) (int, bool) {
	i, _ := slices.BinarySearchFunc(s, uid, func(r UIDRange, uid uint32) int {
		if r.Hi < uid {
			return -1
		}
		return 1
	})
	return i, i < len(s) && s[i].Lo <= uid
}

// Len is how many UIDs the set holds, at most the largest int.
func (s UIDSet) Len() int {
	var n uint64
	for _, r := range s {
		n += uint64(r.Hi-r.Lo) + 1
	}
	return int(min(n, math.MaxInt))
}

// Clone is a copy that shares nothing with s.
func (s UIDSet) Clone() UIDSet { return slices.Clone(s) }

// String is the set as IMAP writes it (RFC 9051, sequence-set): "1:3,7".
func (s UIDSet) String() string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(r.Lo), 10))
		if r.Hi != r.Lo {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(r.Hi), 10))
		}
	}
	return b.String()
}

// ParseUIDSet reads what String wrote. The empty string is the empty set.
func ParseUIDSet(text string) (UIDSet, error) {
	var s UIDSet
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		lo, hi, isRange := strings.Cut(part, ":")
		if !isRange {
			hi = lo
		}
		a, errA := strconv.ParseUint(lo, 10, 32)
		b, errB := strconv.ParseUint(hi, 10, 32)
		if errA != nil || errB != nil || a == 0 || b == 0 {
			return nil, fmt.Errorf("%q is not a UID or a range of UIDs", part)
		}
		s.Add(uint32(a), uint32(b))
	}
	return s, nil
}
