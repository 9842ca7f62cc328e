package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// imap polls in three round trips: the search, the messages, the deletion.
func (o *options) imap(w *wire, s *saver, user string) (int, error) {
	what := map[string]string{deleteAll: "ALL", check: "COUNT", oldest: "MIN", newest: "MAX"}[o.mode]
	unread := "UNSEEN "
	if o.mode == deleteAll {
		unread = ""
	}
	goodbye := ""
	if o.mode == check {
		goodbye = "d LOGOUT\r\n"
	}
	// The greeting is not waited for either.
	err := w.send("a LOGIN %s %s\r\nb SELECT INBOX\r\nc UID SEARCH RETURN (%s) %sUNDELETED\r\n%s", user, quoted(o.password), what, unread, goodbye)
	if err != nil {
		return 0, err
	}
	found := ""
	err = w.until("c", func(line []byte) error {
		if rest, ok := bytes.CutPrefix(line, []byte("* ESEARCH ")); ok {
			if _, value, ok := bytes.Cut(rest, []byte(" "+what+" ")); ok {
				found = string(value)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if o.mode == check {
		n, err := strconv.Atoi(found)
		if err != nil {
			return 0, fmt.Errorf("how many messages are new? %q", found)
		}
		return n, nil
	}
	if found == "" {
		return 0, w.send("d LOGOUT\r\n")
	}
	if err := w.send("e UID FETCH %s (BODY.PEEK[])\r\n", found); err != nil {
		return 0, err
	}
	if err := w.until("e", func(line []byte) error { return w.literal(line, s) }); err != nil {
		return 0, err
	}
	if err := s.finish(); err != nil {
		return 0, err
	}
	if o.mode != deleteAll {
		return s.count, w.send("f LOGOUT\r\n")
	}
	err = w.send("f UID STORE %[1]s +FLAGS.SILENT (\\Deleted)\r\ng UID EXPUNGE %[1]s\r\nh LOGOUT\r\n", found)
	if err != nil {
		return 0, err
	}
	return s.count, w.until("g", nil)
}

func quoted(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// until reads up to the end of a command. A command that failed ends it.
func (w *wire) until(tag string, each func(line []byte) error) error {
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		if line[0] != '*' && line[0] != ')' {
			if bytes.HasPrefix(line, []byte(tag+" OK")) {
				return nil
			}
			if len(line) < 4 || string(line[1:4]) != " OK" {
				return fmt.Errorf("server says %q", line)
			}
		} else if each != nil {
			if err := each(line); err != nil {
				return err
			}
		}
	}
}

// literal saves the message that a FETCH announces at the end of a line.
func (w *wire) literal(line []byte, s *saver) error {
	i := bytes.LastIndexByte(line, '{')
	if i < 0 || line[len(line)-1] != '}' {
		return nil
	}
	size, err := strconv.ParseInt(string(line[i+1:len(line)-1]), 10, 64)
	if err != nil {
		return err
	}
	f, err := s.create()
	if err != nil {
		return err
	}
	for left := size; left > 0; {
		if _, err := w.r.Peek(1); err != nil {
			return err
		}
		part, _ := w.r.Peek(int(min(left, int64(w.r.Buffered())))) // all of it is there
		if _, err := f.Write(part); err != nil {
			return err
		}
		n, _ := w.r.Discard(len(part))
		left -= int64(n)
	}
	return s.add(f, size)
}
