// Command floor is the least that a mail client can do and still be safe: it
// pipelines whatever may be pipelined, syncs what it saved before it deletes
// it, and does nothing else. It has no journal, no configuration, no limits and
// no mercy with servers that are not as they should be. make bench measures
// every other program against it.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// The modes.
const (
	deleteAll = "delete" // save all messages and delete them
	check     = "check"  // is there anything new?
	oldest    = "oldest" // save the oldest unread message and leave it
	newest    = "newest"
)

// options are the flags.
type options struct {
	host, password, protocol, mode string
	port, parallel                 int
	ca                             string // with it, TLS from the first octet
	folder, known                  string
	tls                            *tls.Config
}

func main() {
	var o options
	flag.StringVar(&o.host, "host", "127.0.0.1", "server")
	flag.IntVar(&o.port, "port", 0, "its port")
	flag.StringVar(&o.ca, "ca", "", "PEM `file` of the authority to trust; without it there is no TLS")
	flag.StringVar(&o.protocol, "protocol", "imap", "imap or pop3")
	flag.StringVar(&o.mode, "mode", deleteAll, "delete, check, oldest or newest")
	flag.StringVar(&o.password, "password", "", "of every user")
	flag.StringVar(&o.folder, "folder", "", "where messages are saved")
	flag.StringVar(&o.known, "known", "", "`file` of the unique-ids that are not new (POP3); written where it is missing")
	flag.IntVar(&o.parallel, "parallel", 1, "accounts at once")
	flag.Parse()
	if err := o.run(flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "floor: %v\n", err)
		os.Exit(1)
	}
}

// run goes through the accounts of the users, and says how many messages were
// saved, or are new.
func (o *options) run(users []string) error {
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		o.tls = &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: o.host, RootCAs: pool,
			ClientSessionCache: tls.NewLRUClientSessionCache(0), // of use from the second account on
		}
	}
	var mu sync.Mutex
	var errs error
	count := 0
	var wait sync.WaitGroup
	slots := make(chan struct{}, max(o.parallel, 1))
	for _, user := range users {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			n, err := o.account(user)
			mu.Lock()
			defer mu.Unlock()
			count += n
			errs = errors.Join(errs, err)
		})
	}
	wait.Wait()
	if errs != nil {
		return errs
	}
	_, err := fmt.Fprintln(os.Stdout, count)
	return err
}

// patience bounds what one account may take.
const patience = 10 * time.Minute

// account polls one account.
func (o *options) account(user string) (int, error) {
	var c net.Conn
	c, err := net.Dial("tcp", net.JoinHostPort(o.host, fmt.Sprint(o.port))) //nolint:noctx // it ends with the process
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if o.tls != nil {
		c = tls.Client(c, o.tls)
	}
	w := &wire{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}
	s := newSaver(o.folder, user)
	switch o.protocol {
	case "imap":
		return o.imap(w, s, user)
	case "pop3":
		return o.pop3(w, s, user)
	}
	return 0, fmt.Errorf("unknown protocol %q", o.protocol)
}

// wire is a connection on which lines are read.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func (w *wire) send(format string, args ...any) error {
	_, err := fmt.Fprintf(w.Conn, format, args...)
	return err
}

// line reads a line without its end. It is good until the next one is read.
func (w *wire) line() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil // a long one: whoever wants it reads on
	}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line, err
}
