package folder

import (
	"path/filepath"

	"mailpoller/internal/mail"
)

// Settle gives entries whose names other messages may have names that are free,
// each its own. The journal records them before anything is visible, so that
// it is known afterwards, whatever happens in between, which file is which
// message.
func (s *Store) Settle(entries []mail.Entry) error {
	given := make(map[string]bool) // by path
	for i := range entries {
		e := &entries[i]
		if !e.Shared || e.Temp == "" {
			continue
		}
		name, err := settled(*e, given)
		if err != nil {
			return failure(e.Dir, err)
		}
		e.Name = name
	}
	return nil
}

// nearby is how many names are tried one by one.
const nearby = 8

// settled is a name of an entry that nothing has. Behind the first few it is
// searched for in ever larger steps, and back from there: a sender who gives
// many messages one subject makes them no slower to save.
func settled(e mail.Entry, given map[string]bool) (string, error) {
	described, err := exists(metadataTemp(e))
	if err != nil {
		return "", err
	}
	paths := func(n int) []string {
		name := numbered(e.Name, n)
		if described {
			return []string{filepath.Join(e.Dir, name), metadataPath(e, name)}
		}
		return []string{filepath.Join(e.Dir, name)}
	}
	free := func(n int) (bool, error) {
		for _, path := range paths(n) {
			if there, err := exists(path); there || given[path] || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	taken, n := 0, 1
	for {
		ok, err := free(n)
		if err != nil {
			return "", err
		}
		if ok {
			break
		}
		if taken = n; n < nearby {
			n++
		} else {
			n *= 2
		}
	}
	for n-taken > 1 {
		middle := (n + taken) / 2
		ok, err := free(middle)
		if err != nil {
			return "", err
		}
		if ok {
			n = middle
		} else {
			taken = middle
		}
	}
	for _, path := range paths(n) {
		given[path] = true
	}
	return numbered(e.Name, n), nil
}
