package poll

import (
	"context"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// spanned is p, telling t of the parts of a poll. Where nobody listens it is p
// itself, and costs nothing. That a message is written is a part of fetching
// it: it is never whole anywhere else.
func (p *Poller) spanned(t *mail.Trace) *Poller {
	if t.Span == nil {
		return p
	}
	telling := *p
	telling.Opener = OpenFunc(func(ctx context.Context, c *mail.Connection) (Session, error) {
		session, err := p.Opener.Open(ctx, c) // which tells its own steps
		if err != nil {
			return nil, err
		}
		return &spannedSession{Session: session, span: t.Span}, nil
	})
	telling.Folder = spannedFolder{p.Folder, t.Span}
	telling.Journal = spannedJournal{p.Journal, t.Span}
	return &telling
}

type spanFunc func(op string, messages int) (end func(error))

type spannedSession struct {
	Session
	span    spanFunc
	applied int
}

func (s *spannedSession) Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error) {
	end := s.span(mail.OpPick, 0)
	refs, err := s.Session.Pick(ctx, q)
	end(err)
	return refs, err
}

func (s *spannedSession) Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	end := s.span(mail.OpFetch, len(refs))
	var failed error // of the first message that could not be had
	err := s.Session.Fetch(ctx, refs, func(m mail.Message) error {
		if m.Err != nil && failed == nil {
			failed = m.Err
		}
		return each(m)
	})
	if err != nil {
		failed = err
	}
	end(failed)
	return err
}

func (s *spannedSession) Apply(refs []mail.Ref, d disposition.Disposition) {
	s.applied += len(refs)
	s.Session.Apply(refs, d)
}

func (s *spannedSession) Commit(ctx context.Context) (mail.Commitment, error) {
	end := s.span(mail.OpDispose, s.applied)
	s.applied = 0
	did, err := s.Session.Commit(ctx)
	end(err)
	return did, err
}

func (s *spannedSession) Close() error {
	end := s.span(mail.OpClose, 0)
	err := s.Session.Close()
	end(err)
	return err
}

type spannedFolder struct {
	Folder
	span spanFunc
}

func (f spannedFolder) Sync(ctx context.Context, folder string, entries []mail.Entry) ([]mail.Entry, error) {
	end := f.span(mail.SpanSync, len(entries))
	synced, err := f.Folder.Sync(ctx, folder, entries)
	end(err)
	return synced, err
}

func (f spannedFolder) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	end := f.span(mail.SpanPublish, len(entries))
	published, vanished, err = f.Folder.Publish(ctx, entries, renamed)
	end(err)
	return published, vanished, err
}

type spannedJournal struct {
	Journal
	span spanFunc
}

func (j spannedJournal) Save(ctx context.Context, connection string, box mail.Box, entries []mail.Entry) error {
	end := j.span(mail.OpRecord, len(entries))
	err := j.Journal.Save(ctx, connection, box, entries)
	end(err)
	return err
}

func (j spannedJournal) Dispose(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, d disposition.Disposition) error {
	end := j.span(mail.OpRecord, len(refs))
	err := j.Journal.Dispose(ctx, connection, box, refs, d)
	end(err)
	return err
}
