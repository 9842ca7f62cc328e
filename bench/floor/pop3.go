package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
)

// window is how many messages are asked for ahead of their arrival.
const window = 64

// pop3 polls in three round trips: how many, the messages, QUIT.
func (o *options) pop3(w *wire, s *saver, user string) (int, error) {
	ask := "STAT\r\n"
	switch o.mode {
	case check:
		ask = "STAT\r\nUIDL\r\nQUIT\r\n"
	case oldest, newest:
		ask = "STAT\r\nUIDL\r\n" // to tell what is new
	}
	if err := w.send("USER %s\r\nPASS %s\r\n%s", user, o.password, ask); err != nil {
		return 0, err
	}
	var count int
	for _, reply := range []string{"greeting", "USER", "PASS", "STAT"} {
		line, err := w.ok()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", reply, err)
		}
		if reply == "STAT" {
			if _, err := fmt.Sscanf(string(line), "+OK %d", &count); err != nil {
				return 0, err
			}
		}
	}
	first, last := 1, count
	if o.mode != deleteAll {
		fresh, err := o.fresh(w, count)
		if err != nil || o.mode == check || len(fresh) == 0 {
			return len(fresh), err
		}
		if first = fresh[0]; o.mode == newest {
			first = fresh[len(fresh)-1]
		}
		last = first
	}
	if err := w.retrieve(s, first, last, o.mode == deleteAll); err != nil {
		return 0, err
	}
	if err := s.finish(); err != nil {
		return 0, err
	}
	if err := w.send("QUIT\r\n"); err != nil {
		return 0, err
	}
	_, err := w.ok() // from here on the messages are deleted
	return s.count, err
}

// ok reads the status line of a reply.
func (w *wire) ok() ([]byte, error) {
	line, err := w.line()
	if err == nil && !bytes.HasPrefix(line, []byte("+OK")) {
		err = fmt.Errorf("server says %q", line)
	}
	return line, err
}

// fresh is the numbers of the messages that are not known.
func (o *options) fresh(w *wire, count int) ([]int, error) {
	known := make(map[string]bool)
	text, err := os.ReadFile(o.known)
	if err != nil && o.known != "" && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	missing := err != nil
	for id := range strings.Lines(string(text)) {
		known[id[:len(id)-1]] = true
	}
	if _, err := w.ok(); err != nil {
		return nil, err
	}
	var fresh []int
	var list strings.Builder
	for {
		line, err := w.line()
		if err != nil {
			return nil, err
		}
		if string(line) == "." {
			break
		}
		num, id, _ := bytes.Cut(line, []byte(" "))
		if !known[string(id)] {
			n, err := strconv.Atoi(string(num))
			if err != nil || n < 1 || n > count {
				return nil, fmt.Errorf("server lists %q", line)
			}
			fresh = append(fresh, n)
			list.Write(id)
			list.WriteByte('\n')
		}
	}
	if o.known != "" && missing {
		return fresh, os.WriteFile(o.known, []byte(list.String()), 0o600)
	}
	return fresh, nil
}

// retrieve saves the messages from first to last, and may mark each to be
// deleted by QUIT. The commands run ahead of the replies by a window.
func (w *wire) retrieve(s *saver, first, last int, deleted bool) error {
	slots := make(chan struct{}, window)
	broken := make(chan struct{})
	var sent error
	var sender sync.WaitGroup
	sender.Go(func() {
		var b bytes.Buffer
		for n := first; n <= last; n++ {
			select {
			case slots <- struct{}{}:
			case <-broken:
				return
			}
			fmt.Fprintf(&b, "RETR %d\r\n", n)
			if deleted {
				fmt.Fprintf(&b, "DELE %d\r\n", n)
			}
			// Written when the window is full, or half of it is filled again.
			if n == last || n%(window/2) == 0 {
				if _, sent = w.Write(b.Bytes()); sent != nil {
					return
				}
				b.Reset()
			}
		}
	})
	err := func() error {
		for n := first; n <= last; n++ {
			if _, err := w.ok(); err != nil {
				return err
			}
			f, err := s.create()
			if err != nil {
				return err
			}
			size, err := w.body(f)
			if err != nil {
				return err
			}
			if err := s.add(f, size); err != nil {
				return err
			}
			if deleted {
				if _, err := w.ok(); err != nil {
					return err
				}
			}
			<-slots
		}
		return nil
	}()
	close(broken)
	if err != nil {
		w.Close()
	}
	sender.Wait()
	return errors.Join(err, sent)
}

// body writes a message to a file, without the dots that were added.
func (w *wire) body(f *os.File) (n int64, err error) {
	out := bufio.NewWriterSize(f, 64<<10)
	start := true
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
		if start && line[0] == '.' {
			if len(line) == 3 {
				return n, out.Flush()
			}
			line = line[1:]
		}
		start = line[len(line)-1] == '\n'
		k, err := out.Write(line)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}
