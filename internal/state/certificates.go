package state

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
)

// What is kept of certificates that were not trusted. A server that shows
// another one each time pushes out its own, and not those of others.
const (
	refusedPerServer = 20
	refusedOverall   = 1000
	chainLength      = 10       // certificates of a chain
	chainOctets      = 64 << 10 // and their size
)

const opCertificates = "certificates" // of a mail.Error

// certificates are those that are trusted, as they are recorded.
type certificates map[mail.Server][]certificate.Certificate

// Trusted are the certificates that an operator trusts for a server, as far as
// TLS can work with them.
func (s *Store) Trusted(server mail.Server) []*x509.Certificate {
	var usable []*x509.Certificate
	for _, c := range (*s.trusted.Load())[server] {
		if c.X509 != nil {
			usable = append(usable, c.X509)
		}
	}
	return usable
}

// Refuse keeps a chain that was not trusted, once for each server and
// certificate, and counts it. Of r its Server, Chain, Connection and Reason
// count.
func (s *Store) Refuse(ctx context.Context, r mail.Refused) error {
	now := time.Now().Unix()
	return s.write(ctx, "keep the certificate of "+r.Server.String(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO refused (host, port, fingerprint, chain, connection, reason, first, last, times)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1)
			ON CONFLICT (host, port, fingerprint) DO UPDATE
			SET chain = excluded.chain, connection = excluded.connection, reason = excluded.reason, last = excluded.last, times = times + 1`,
			r.Server.Host, r.Server.Port, r.Chain[0].Fingerprint(), packed(r.Chain), r.Connection, clip(r.Reason), now)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM refused WHERE host = $1 AND port = $2 AND fingerprint IN (
			SELECT fingerprint FROM refused WHERE host = $1 AND port = $2 ORDER BY last DESC, first DESC LIMIT -1 OFFSET $3)`,
			r.Server.Host, r.Server.Port, refusedPerServer)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM refused WHERE (host, port, fingerprint) IN (
			SELECT host, port, fingerprint FROM refused ORDER BY last DESC, first DESC LIMIT -1 OFFSET $1)`, refusedOverall)
		return err
	})
}

// packed is as much of a chain as is kept: as TLS sends it, each certificate
// behind its length (RFC 5246, section 7.4.2), since what is kept need not be DER.
func packed(chain []certificate.Certificate) []byte {
	var list cryptobyte.Builder
	octets := 0
	for i, c := range chain {
		if octets += len(c.Raw); i > 0 && (i >= chainLength || octets > chainOctets) {
			break
		}
		list.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(c.Raw) })
	}
	return list.BytesOrPanic() // TLS has no certificate that is too long for it
}

// unpacked is the chain in a record. Those of older versions are certificates one
// behind the other, without their lengths: a length never begins as they do.
func unpacked(record []byte) []certificate.Certificate {
	var chain []certificate.Certificate
	if old, err := x509.ParseCertificates(record); err == nil && len(old) > 0 {
		for _, c := range old {
			chain = append(chain, certificate.Of(c))
		}
		return chain
	}
	for list := cryptobyte.String(record); !list.Empty(); {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) {
			break
		}
		chain = append(chain, certificate.Read(der))
	}
	if len(chain) == 0 {
		chain = append(chain, certificate.Read(record))
	}
	return chain
}

// Refused are the chains that were not trusted, by server, the one seen last
// first; and with them what is trusted, also where its chain is no longer
// kept.
func (s *Store) Refused(ctx context.Context) ([]mail.Refused, error) {
	var all []mail.Refused
	err := s.read(ctx, "read certificates", func(tx *sql.Tx) (err error) {
		all, err = refused(ctx, tx)
		return err
	})
	return all, err
}

func refused(ctx context.Context, tx *sql.Tx) ([]mail.Refused, error) {
	rows, err := tx.QueryContext(ctx, `SELECT host, port, chain, connection, reason, first, last, times FROM refused
		ORDER BY host, port, last DESC, fingerprint`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []mail.Refused
	for rows.Next() {
		var r mail.Refused
		var der []byte
		var first, last int64
		if err := rows.Scan(&r.Server.Host, &r.Server.Port, &der, &r.Connection, &r.Reason, &first, &last, &r.Times); err != nil {
			return nil, err
		}
		r.First, r.Last = time.Unix(first, 0).UTC(), time.Unix(last, 0).UTC()
		r.Chain = unpacked(der)
		r.Trusted = make([]bool, len(r.Chain))
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	trust, err := trusted(ctx, tx)
	for server, list := range trust {
		for _, c := range list {
			known := false
			for _, r := range all {
				if i := slices.IndexFunc(r.Chain, c.Equal); r.Server == server && i >= 0 {
					r.Trusted[i], known = true, true
				}
			}
			if !known {
				all = append(all, mail.Refused{Server: server, Chain: []certificate.Certificate{c}, Trusted: []bool{true}})
			}
		}
	}
	return all, err
}

func trusted(ctx context.Context, tx *sql.Tx) (certificates, error) {
	rows, err := tx.QueryContext(ctx, `SELECT host, port, certificate FROM trusted ORDER BY host, port, fingerprint`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(certificates)
	for rows.Next() {
		var server mail.Server
		var der []byte
		if err := rows.Scan(&server.Host, &server.Port, &der); err != nil {
			return nil, err
		}
		all[server] = append(all[server], certificate.Read(der))
	}
	return all, rows.Err()
}

// Choice names a certificate of a chain that is kept: by its fingerprint, or
// at least the first eight digits of it, and where it was seen on several
// servers, by one of them.
type Choice struct {
	Fingerprint string
	Server      string // host:port; may be empty
}

// Chosen is the certificate that a Choice names.
type Chosen struct {
	Server      mail.Server
	Certificate certificate.Certificate
	Own         bool // it is the server's own, and not an issuer's
	Trusted     bool // by an operator, for this server

	entitled bool // another one of a chain with it is trusted
}

// Trust makes a certificate trusted for its server from now on.
func (s *Store) Trust(ctx context.Context, choice Choice) (Chosen, error) {
	return s.judge(ctx, "trust a certificate", choice, func(tx *sql.Tx, c Chosen) error {
		now := time.Now()
		switch {
		case c.Certificate.Problem != nil:
			return wrong("have the server present another certificate: TLS fails with this one whatever is trusted",
				"%s cannot be trusted: %w", c.Certificate, c.Certificate.Problem)
		case now.After(c.Certificate.NotAfter):
			return wrong("renew the server's certificate; what has expired is not accepted, trusted or not",
				"%s expired at %s", c.Certificate, c.Certificate.NotAfter.Format(time.DateTime))
		case !c.Own && !c.Certificate.Authority:
			return wrong("trust the server's own certificate, or one of a certificate authority",
				"%s may not issue certificates", c.Certificate)
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO trusted (host, port, fingerprint, certificate) VALUES ($1, $2, $3, $4)
			ON CONFLICT (host, port, fingerprint) DO NOTHING`,
			c.Server.Host, c.Server.Port, c.Certificate.Fingerprint(), c.Certificate.Raw)
		return err
	})
}

// Revoke ends the trust in a certificate.
func (s *Store) Revoke(ctx context.Context, choice Choice) (Chosen, error) {
	return s.judge(ctx, "revoke a certificate", choice, func(tx *sql.Tx, c Chosen) error {
		if !c.Trusted {
			hint := "`poller certs list` shows what is trusted"
			if c.entitled {
				hint = "an issuer of it is: `poller certs show` has its fingerprint, revoke that"
			}
			return wrong(hint, "%s is not trusted itself for %s", c.Certificate, c.Server)
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM trusted WHERE host = $1 AND port = $2 AND fingerprint = $3`,
			c.Server.Host, c.Server.Port, c.Certificate.Fingerprint())
		return err
	})
}

// Remove drops the chain of a server's own certificate from what is kept.
func (s *Store) Remove(ctx context.Context, choice Choice) (Chosen, error) {
	return s.judge(ctx, "remove a certificate", choice, func(tx *sql.Tx, c Chosen) error {
		switch {
		case c.Trusted || c.entitled:
			return wrong("revoke it first, with `poller certs revoke`", "%s, or an issuer of it, is trusted for %s", c.Certificate, c.Server)
		case !c.Own:
			return wrong("remove the certificate of the server, with which it came", "%s is an issuer", c.Certificate)
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM refused WHERE host = $1 AND port = $2 AND fingerprint = $3`,
			c.Server.Host, c.Server.Port, c.Certificate.Fingerprint())
		return err
	})
}

// judge does something about the certificate that is chosen, and puts it into
// force.
func (s *Store) judge(ctx context.Context, what string, choice Choice, do func(*sql.Tx, Chosen) error) (c Chosen, err error) {
	s.judging.Lock()
	defer s.judging.Unlock()
	var trust certificates
	err = s.write(ctx, what, func(tx *sql.Tx) error {
		all, err := refused(ctx, tx)
		if err != nil {
			return err
		}
		if c, err = choose(all, choice); err != nil {
			return err
		}
		if err := do(tx, c); err != nil {
			return err
		}
		trust, err = trusted(ctx, tx)
		return err
	})
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Kind == mail.KindState {
		if mistake, ok := errors.AsType[*mail.Error](e.Err); ok {
			return Chosen{}, mistake
		}
	}
	if err != nil {
		return Chosen{}, err
	}
	s.trusted.Store(&trust)
	return c, nil
}

// wrong is an error of who asked.
func wrong(hint, format string, args ...any) error {
	e := mail.Errorf(opCertificates, mail.KindConfig, format, args...)
	e.Hint = hint
	return e
}

const shortest = 8 // digits of a fingerprint

// choose finds the one certificate that a choice names.
func choose(all []mail.Refused, choice Choice) (Chosen, error) {
	prefix := strings.ToLower(strings.ReplaceAll(choice.Fingerprint, ":", ""))
	if len(prefix) < shortest {
		return Chosen{}, wrong("`poller certs list` shows them", "%q is no fingerprint: it takes at least %d digits", choice.Fingerprint, shortest)
	}
	var found []Chosen
	for _, r := range all {
		if choice.Server != "" && !strings.EqualFold(choice.Server, r.Server.String()) {
			continue
		}
		for i, c := range r.Chain {
			if !strings.HasPrefix(c.Fingerprint(), prefix) {
				continue
			}
			one := Chosen{Server: r.Server, Certificate: c, Own: i == 0, Trusted: r.Trusted[i], entitled: slices.Contains(r.Trusted, true)}
			if at := slices.IndexFunc(found, func(f Chosen) bool { return f.Server == one.Server && f.Certificate.Equal(c) }); at >= 0 {
				found[at].Own = found[at].Own || one.Own
				continue
			}
			found = append(found, one)
		}
	}
	switch {
	case len(found) == 0:
		return Chosen{}, wrong("`poller certs list` shows what is kept", "no certificate with the fingerprint %s is kept", choice.Fingerprint)
	case len(found) == 1:
		return found[0], nil
	}
	var servers []string
	for _, f := range found {
		if !f.Certificate.Equal(found[0].Certificate) {
			return Chosen{}, wrong("give more digits of the fingerprint", "several certificates have fingerprints that begin with %s", choice.Fingerprint)
		}
		servers = append(servers, f.Server.String())
	}
	return Chosen{}, wrong("trust holds for one server: name it with --server", "several servers showed this certificate: %s", strings.Join(servers, ", "))
}

// loadTrusted reads what is trusted.
func (s *Store) loadTrusted(ctx context.Context) error {
	return s.transact(ctx, s.db.reads, func(tx *sql.Tx) error {
		trust, err := trusted(ctx, tx)
		if err != nil {
			return fmt.Errorf("read trusted certificates: %w", err)
		}
		s.trusted.Store(&trust)
		return nil
	})
}
