package mail

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a UIDSet the slow way.
type model map[uint32]bool

func (m model) equal(s UIDSet) bool {
	n := 0
	for uid := range uint32(100) {
		if m[uid] {
			n++
		}
		if m[uid] != s.Contains(uid) {
			return false
		}
	}
	return n == s.Len()
}

func wellFormed(s UIDSet) bool {
	for i, r := range s {
		if r.Lo > r.Hi || i > 0 && uint64(s[i-1].Hi)+1 >= uint64(r.Lo) {
			return false
		}
	}
	return true
}

func TestUIDSetBehavesLikeASet(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var a, b UIDSet
		ma, mb := model{}, model{}
		fill := func(s *UIDSet, m model) {
			for range rnd.IntN(30) {
				lo := 1 + rnd.Uint32N(90)
				hi := lo + rnd.Uint32N(8)
				if rnd.IntN(3) == 0 {
					s.Remove(lo)
					delete(m, lo)
					continue
				}
				s.Add(lo, hi)
				for uid := lo; uid <= hi; uid++ {
					m[uid] = true
				}
			}
		}
		fill(&a, ma)
		fill(&b, mb)
		minus, and := model{}, model{}
		for uid := range ma {
			if mb[uid] {
				and[uid] = true
			} else {
				minus[uid] = true
			}
		}
		for _, c := range []struct {
			name string
			set  UIDSet
			want model
		}{{"add and remove", a, ma}, {"minus", a.Minus(b), minus}, {"and", a.And(b), and}} {
			if !wellFormed(c.set) || !c.want.equal(c.set) {
				t.Fatalf("seed %d: %s: %v, of %v and %v", seed, c.name, c.set, a, b)
			}
		}
		up, down := slices.Collect(a.All(false)), slices.Collect(a.All(true))
		if !slices.IsSorted(up) || len(up) != len(ma) {
			t.Fatalf("seed %d: %v is walked as %v and %v", seed, a, up, down)
		}
		slices.Reverse(down)
		if !slices.Equal(up, down) {
			t.Fatalf("seed %d: %v downwards is %v", seed, a, down)
		}
		back, err := ParseUIDSet(a.String())
		if err != nil || !ma.equal(back) {
			t.Fatalf("seed %d: %q reads as %v, %v", seed, a, back, err)
		}
	}
}

func TestUIDSetHoldsWhatAServerCanName(t *testing.T) {
	t.Parallel()
	var s UIDSet
	s.Add(1, 4294967295)
	if s.Len() != 4294967295 || s.String() != "1:4294967295" {
		t.Fatalf("got %v with %d UIDs", s, s.Len())
	}
	s.Remove(4294967295)
	s.Remove(1)
	s.Add(4294967295, 4294967295)
	if got := s.String(); got != "2:4294967295" {
		t.Fatalf("got %s", got)
	}
	if rest := s.Minus(UIDSet{{5, 4294967294}}).String(); rest != "2:4,4294967295" {
		t.Fatalf("got %s", rest)
	}
}

func TestParseUIDSetRefusesWhatItDidNotWrite(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "0", "1:", ":1", "1:2:3", "4294967296", "1,,2", "*"} {
		if s, err := ParseUIDSet(text); err == nil {
			t.Errorf("%q reads as %v", text, s)
		}
	}
}
