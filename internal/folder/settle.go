package folder

import (
	"bytes"
	"path/filepath"
	"time"

	"mailpoller/internal/folder/facts"
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
		described, err := exists(metadataTemp(*e))
		if err != nil {
			return failure(e.Dir, err)
		}
		if e.Name, err = settled(*e, isDirectory(*e), described, given); err != nil {
			return failure(e.Dir, err)
		}
	}
	return nil
}

// unfetched stands in a planned name for the digest of a message that was not
// fetched.
const unfetched = "xxxxxxxxxxxxxxxx"

// Planned returns what says as what messages would be saved, now and in the order
// in which it is asked. Of a body it reads the header alone; where there is none
// and a template needs it, the name is the template. It writes nothing.
func (s *Store) Planned(c *mail.Connection, box mail.Box) func(mail.Message) (mail.Entry, error) {
	given := make(map[string]bool)
	return func(m mail.Message) (e mail.Entry, err error) {
		e = mail.Entry{Ref: m.Ref, Dir: c.Folder, Name: layoutOf(c.Format).name(stem(c.Name, box, m.Ref), m.Flags)}
		switch {
		case c.Filename == nil:
			return e, nil
		case m.Body == nil:
			e.Name = c.Filename.String()
			return e, nil
		}
		var head bytes.Buffer
		if _, err := m.Body.WriteTo(&head); err != nil {
			return e, err
		}
		known, err := facts.Of(c, box, &m, &e, &head, time.Now())
		if err != nil {
			return e, failure(c.Folder, err)
		}
		known.SHA256 = unfetched
		e.Name = templateName(c, &m, known)
		if e.Name, err = settled(e, c.Format == mail.Attachments, c.Metadata, given); err != nil {
			return e, failure(c.Folder, err)
		}
		return e, nil
	}
}

// nearby is how many names are tried one by one.
const nearby = 8

// settled is a name of an entry that nothing has, nor, where it is described, its
// description. Behind the first few it is searched for in ever larger steps, and
// back from there: a sender who gives many messages one subject makes them no
// slower to save.
func settled(e mail.Entry, directory, described bool, given map[string]bool) (string, error) {
	paths := func(n int) []string {
		name := numbered(e.Name, n, directory)
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
	return numbered(e.Name, n, directory), nil
}
