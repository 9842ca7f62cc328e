package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// startTLS puts TLS under the session. Octets that came ahead of it were
// injected by somebody, who would have them taken for the server's
// (CVE-2011-0411): they end the session.
func (w *wire) startTLS(ctx context.Context) error {
	var state tls.ConnectionState // as far as the handshake came
	var judged error              // what is wrong with the certificate
	var older error               // why older versions are to be tried
	err := w.step(mail.OpTLS, func() (string, error) {
		if n := w.r.Buffered(); n > 0 {
			return "", &mail.Error{
				Op: mail.OpTLS, Kind: mail.KindTLS, Err: fmt.Errorf("server sent %d octets in clear text ahead of the handshake", n),
				Hint: "somebody may be tampering with the connection: use connection_security: SSL_TLS",
			}
		}
		config := w.config.Clone()
		config.VerifyConnection = func(cs tls.ConnectionState) error {
			state = cs
			judged = w.config.VerifyConnection(cs)
			return judged
		}
		config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			w.asked = true
			return w.config.GetClientCertificate(r)
		}
		t := tls.Client(w.conn, config)
		err := t.HandshakeContext(ctx)
		var certificate *tls.CertificateVerificationError
		switch {
		case err == nil:
			w.top, w.tls = t, true
			w.r.Reset(t)
			state = t.ConnectionState()
		case errors.As(judged, &certificate): // TLS itself went well
		case w.others && (tlspolicy.VersionRefused(err) || hungUp(err)):
			w.again, older = true, w.tlsFailure(err)
			return "the server refuses " + tls.VersionName(w.config.MinVersion) + " and newer versions; going on with older ones", nil
		default:
			return "", w.tlsFailure(err)
		}
		detail := fmt.Sprintf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
		if state.DidResume {
			detail += ", resumed"
		}
		return detail, nil
	})
	if err == nil {
		err = older
	}
	if err != nil {
		return err
	}
	return w.step(mail.OpCertificate, func() (string, error) {
		if judged != nil {
			return "", w.certificateFailure(ctx, judged)
		}
		if w.opener.Secured != nil {
			w.opener.Secured(mail.HandshakeOf(w.c.Server(), state))
		}
		return describeCertificate(state.PeerCertificates[0]), nil
	})
}

// describeCertificate says in one line whose certificate it is.
func describeCertificate(c *x509.Certificate) string {
	return fmt.Sprintf("%s, issued by %s, valid until %s", subject(c), c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
}

// subject names the holder of a certificate; some have a name in the SAN only.
func subject(c *x509.Certificate) string {
	if text := c.Subject.String(); text != "" || len(c.DNSNames) == 0 {
		return text
	}
	return c.DNSNames[0]
}

// certificateFailure makes an Error out of what is wrong with the server's
// certificate, and keeps one that is not trusted for review.
func (w *wire) certificateFailure(ctx context.Context, err error) error {
	var (
		refused   *tls.CertificateVerificationError
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
	)
	errors.As(err, &refused)
	chain := refused.UnverifiedCertificates
	e := &mail.Error{Op: mail.OpCertificate, Kind: mail.KindTLS, Err: refused.Err}
	short := mail.Fingerprint(chain[0])[:16]
	switch {
	case errors.As(err, &hostname):
		e.Hint = "name the host as the certificate does, or set match_server_hostname: DISABLED if that cannot be; trusting a certificate does not give it another name"
		return w.cleaned(e)
	case errors.As(err, &authority):
		e.Hint = "look at it with `poller certs show " + short + "`; if it is the right one, `poller certs trust " + short + "`, or add its issuer with ca_file:"
		if w.opener.Trust == nil { // poller init
			e.Hint = "if it is the right one, name its issuer (--ca-file, ca_file:); or have the file written all the same, and `poller test` keeps the certificate for `poller certs`"
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Hint = "the server's certificate, or one of its issuers, has to be renewed; see also whether the clock of this host is right"
	default:
		e.Hint = "the server's certificate has to be replaced"
	}
	e = w.cleaned(e)
	if w.opener.Trust != nil {
		kept := mail.Refused{Server: w.c.Server(), Chain: chain, Connection: w.c.Name, Reason: e.Err.Error()}
		if err := w.opener.Trust.Refuse(ctx, kept); err != nil {
			w.log.Error("certificate not kept for review", zap.String("connection", w.c.Name), zap.Error(err))
		}
	}
	return e
}

// tlsFailure makes an Error out of a handshake that failed for another reason
// than the certificate.
func (w *wire) tlsFailure(err error) error {
	var (
		record tls.RecordHeaderError
		suite  *tlspolicy.SuiteError
	)
	e := &mail.Error{Op: mail.OpTLS, Kind: mail.KindTLS, Err: err}
	switch {
	case errors.As(err, &record):
		e.Hint = "the server does not speak TLS on this port: use connection_security: STARTTLS, or the port for TLS"
	case errors.As(err, &suite):
		e.Hint = "add the suite to accepted_cipher_suites:, or have the server use another"
	case w.asked && tlspolicy.Alert(err) != "":
		return w.keyFailure(mail.OpTLS, err)
	case tlspolicy.VersionRefused(err):
		e.Hint = "the server speaks none of the TLS versions, or none of the cipher suites, that are accepted: see ssl_authentication_protocol: and accepted_cipher_suites:"
	case tlspolicy.Alert(err) != "":
		e.Hint = "the server refused the handshake; its log may say why"
	case hungUp(err):
		e.Kind, e.Err = mail.KindNetwork, fmt.Errorf("server closed the connection in the handshake: %w", err)
		e.Hint = "it may speak none of the TLS versions or cipher suites that are accepted: see ssl_authentication_protocol: and accepted_cipher_suites:, and the server's log"
	default:
		return w.failure(mail.OpTLS, err)
	}
	return w.unprefixed(e)
}

// hungUp reports whether the server ended a handshake without a word, as old
// ones do when they do not like the version.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// keyFailure makes an Error out of a server's alert after it asked for a client
// certificate. With TLS 1.3 it comes when the handshake is over for us.
func (w *wire) keyFailure(op string, err error) error {
	e := &mail.Error{Op: op, Kind: mail.KindTLS, Err: err}
	e.Hint = "the server demands a client certificate: add one to keys: and name it with client_key_label:"
	if w.c.Key != nil {
		e.Hint = "the server does not take the client certificate of key " + w.c.Key.Label + ": see whether it is the right one, has not expired, and has an issuer that the server knows"
	}
	return w.unprefixed(e)
}

// unprefixed is e without what the library says ahead of every error, which
// the step says already.
func (w *wire) unprefixed(e *mail.Error) *mail.Error {
	if text := e.Err.Error(); strings.Contains(text, "tls: ") {
		e.Err = &shown{strings.ReplaceAll(text, "tls: ", ""), e.Err}
	}
	return w.cleaned(e)
}

// noSTARTTLS is the error of a server that does not do what
// connection_security: STARTTLS asks for.
func noSTARTTLS(cause error) *mail.Error {
	return &mail.Error{
		Op: mail.OpTLS, Kind: mail.KindTLS, Err: fmt.Errorf("server does not offer STARTTLS: %w", cause),
		Hint: "use connection_security: SSL_TLS with the port for TLS; nothing was sent in clear text",
	}
}
