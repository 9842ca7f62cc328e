package poll

import (
	"bytes"
	"context"

	"mailpoller/internal/header"
	"mailpoller/internal/mail"
)

// Bounds of what is asked about messages that stay on the server: how many headers in
// an attempt, how many of them the server may refuse, and how many octets are kept of
// each text.
const (
	maxIntroduced   = 20
	maxUnknown      = 3
	maxIntroduction = 256
)

// introduce asks for the headers of messages that failed or are too large, so that an
// operator reads who sent them, when, and about what. It changes nothing on the server,
// and what cannot be had stays unknown: the attempt has done its work.
func (p *pass) introduce(ctx context.Context) {
	strangers := p.strangers()
	if strangers.Len() == 0 {
		return
	}
	refs, err := p.session.Pick(ctx, mail.Query{Only: &strangers})
	if err == nil {
		refused := 0
		err = p.session.Heads(ctx, refs, func(m mail.Message) error {
			if m.Retracted || m.Err != nil {
				if refused++; refused == maxUnknown {
					return m.Err
				}
				return nil
			}
			return p.meet(m)
		})
	}
	if err != nil {
		p.log.Debug("headers of messages that stay on the server could not be had", ErrorFields(mail.AsError(err, mail.OpFetch, mail.KindProtocol))...)
	}
}

// meet reads the header of a message that stays on the server.
func (p *pass) meet(m mail.Message) error {
	var text bytes.Buffer
	if _, err := m.Body.WriteTo(&text); err != nil {
		return err
	}
	fields, _ := header.Read(&text, "from", "subject", "date") // memory does not fail
	about := mail.Unsaved{
		Ref:     m.Ref,
		From:    header.Line(header.Text(fields.First("from")), maxIntroduction),
		Subject: header.Line(header.Text(fields.First("subject")), maxIntroduction),
	}
	about.Date, _ = header.Date(fields.First("date"))
	if p.introduced == nil {
		p.introduced = make(map[string]mail.Unsaved)
	}
	p.introduced[m.ID()] = about
	return nil
}

// strangers is the messages that stay on the server, and of which the journal does not
// know the sender and the subject.
func (p *pass) strangers() mail.Set {
	met := make(map[string]bool)
	for id := range p.introduced {
		met[id] = true
	}
	var strangers mail.Set
	add := func(ref mail.Ref) {
		if strangers.Len() < maxIntroduced && !met[ref.ID()] {
			strangers.Add(ref)
		}
	}
	for _, f := range p.ledger.Unsaved {
		switch {
		case f.From != "" || f.Subject != "":
			met[f.ID()] = true
		case f.Oversized || f.Quarantined():
			add(f.Ref)
		}
	}
	for _, f := range p.blame.failed {
		add(f.ref)
	}
	for _, f := range p.faults {
		if f.Oversized {
			add(f.Ref)
		}
	}
	return strangers
}
