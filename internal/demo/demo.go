// Package demo is what a newcomer runs first: mail servers in this process,
// with accounts full of real-looking messages, and a configuration that polls
// them.
package demo

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// account is one mailbox and the connection that polls it.
type account struct {
	Name        string
	Description string
	Store       mail.StoreType
	Security    mail.Security
	Disposition disposition.Disposition

	Port   int    // once the servers run
	Folder string // once the configuration is written
}

// accounts show each disposition, both protocols and both ways to TLS.
func accounts() []account {
	return []account{
		{Name: "orders", Description: "saved, then deleted on the server", Store: mail.IMAP, Security: mail.SSLTLS, Disposition: disposition.Delete},
		{Name: "invoices", Description: "saved, then marked as read", Store: mail.IMAP, Security: mail.StartTLS, Disposition: disposition.Seen},
		{Name: "alarms", Description: "saved, then deleted on the server, over POP3", Store: mail.POP3, Security: mail.StartTLS, Disposition: disposition.Delete},
		{Name: "archive", Description: "saved; the server cannot tell that anybody looked", Store: mail.IMAP, Security: mail.SSLTLS, Disposition: disposition.Keep},
	}
}

const host = "127.0.0.1"

// Servers are the running mail servers of the demonstration. They listen on
// the loopback interface, on ports of their own. What they hold is gone with
// them, and UIDVALIDITY and unique-ids are others when they are started again.
type Servers struct {
	imap     *mailserver.IMAP
	pop3     *mailserver.POP3
	ca       *mailserver.CA
	password string // of every account
	accounts []account
	total    int

	stopArrivals context.CancelFunc
	arrivals     sync.WaitGroup
	arrivalErr   error // written before arrivals is done
}

// letter is a message on its way to an account.
type letter struct {
	to  account
	raw []byte
}

// Start starts the servers. With every at 0 all messages are there at once;
// otherwise each account begins with one, and the others arrive one by one,
// that far apart, until all are there or the context ends. The caller closes
// the servers.
func Start(ctx context.Context, every time.Duration) (*Servers, error) {
	ca, err := mailserver.NewCA("poller demo CA")
	if err != nil {
		return nil, err
	}
	cert, err := ca.IssueFor(host, "localhost")
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	ctx, cancel := context.WithCancel(ctx)
	s := &Servers{
		imap: mailserver.NewIMAP(config), pop3: mailserver.NewPOP3(config), ca: ca,
		password: rand.Text(), accounts: accounts(), stopArrivals: cancel,
	}
	later, err := s.fill(every == 0)
	if err == nil {
		err = s.listen()
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	if len(later) > 0 {
		s.arrivals.Go(func() { s.arrivalErr = s.arrive(ctx, later, every) })
	}
	return s, nil
}

// fill makes the accounts and delivers to them: everything, or the first
// message of each. It returns what is left to deliver.
func (s *Servers) fill(everything bool) (later []letter, err error) {
	for _, a := range s.accounts {
		if err := s.addUser(a); err != nil {
			return nil, err
		}
		all, err := messages(a.Name)
		if err != nil {
			return nil, err
		}
		s.total += len(all)
		for i, raw := range all {
			if i > 0 && !everything {
				later = append(later, letter{a, raw})
			} else if err := s.deliver(letter{a, raw}); err != nil {
				return nil, err
			}
		}
	}
	return later, nil
}

func (s *Servers) addUser(a account) error {
	if a.Store == mail.IMAP {
		return s.imap.AddUser(a.Name, s.password)
	}
	s.pop3.AddUser(a.Name, s.password)
	return nil
}

func (s *Servers) deliver(l letter) error {
	if l.to.Store == mail.IMAP {
		return s.imap.Deliver(l.to.Name, nil, l.raw)
	}
	return s.pop3.Deliver(l.to.Name, l.raw)
}

// listen opens a port for each account: few enough not to share them.
func (s *Servers) listen() error {
	for i := range s.accounts {
		a := &s.accounts[i]
		listen := s.imap.Listen
		if a.Store == mail.POP3 {
			listen = s.pop3.Listen
		}
		var err error
		if a.Port, err = listen(a.Security); err != nil {
			return err
		}
	}
	return nil
}

// arrive delivers letters one by one.
func (s *Servers) arrive(ctx context.Context, later []letter, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for _, l := range later {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.deliver(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// Total is how many messages there are in all, those that are still to arrive
// included: how many files a complete run saves.
func (s *Servers) Total() int { return s.total }

// Close stops the servers and returns when nothing of them runs any more. Its
// error is what kept a message from arriving.
func (s *Servers) Close() error {
	s.stopArrivals()
	s.arrivals.Wait()
	s.imap.Close()
	s.pop3.Close()
	return s.arrivalErr
}
