package mailbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// startTLS puts TLS under the session. Octets that came ahead of it were
// injected by somebody, who would have them taken for the server's
// (CVE-2011-0411): they end the session.
func (w *wire) startTLS(ctx context.Context) error {
	config := w.config.Clone()
	capture := certificate.NewCapture(w.conn, config)
	defer capture.Stop()
	var state tls.ConnectionState // as far as the handshake came
	var judged error              // what is wrong with the certificate
	var refused string            // why nobody could judge it
	var older error               // why older versions are to be tried
	err := w.step(mail.OpTLS, func() (string, error) {
		if n := w.r.Buffered(); n > 0 {
			return "", &mail.Error{
				Op: mail.OpTLS, Kind: mail.KindTLS, Err: fmt.Errorf("server sent %d octets in clear text ahead of the handshake", n),
				Hint: "somebody may be tampering with the connection: use connection_security: SSL_TLS",
			}
		}
		config.VerifyConnection = func(cs tls.ConnectionState) error {
			judged = w.config.VerifyConnection(cs)
			return judged
		}
		config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			w.asked = true
			return w.config.GetClientCertificate(r)
		}
		t := tls.Client(capture, config)
		err := t.HandshakeContext(ctx)
		state, refused = t.ConnectionState(), certificate.Refused(err)
		var verification *tls.CertificateVerificationError
		switch {
		case err == nil:
			w.top, w.tls = t, true
			w.r.Reset(t)
		case errors.As(judged, &verification), refused != "": // TLS itself went well
		case w.others && (tlspolicy.VersionRefused(err) || hungUp(err)):
			w.again, older = true, w.tlsFailure(err)
			return "the server refuses " + tls.VersionName(w.config.MinVersion) + " and newer versions; going on with older ones", nil
		case capture.Silent():
			return "", w.unanswered(ctx, err, capture.Sent)
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
	switch {
	case err != nil:
		return err
	case w.trial:
		return errAnswered
	}
	return w.step(mail.OpCertificate, func() (string, error) {
		switch {
		case refused != "":
			return "", w.unusable(ctx, refused, certificate.All(capture.Chain()))
		case judged != nil:
			return "", w.certificateFailure(ctx, judged)
		}
		if w.opener.Secured != nil {
			w.opener.Secured(mail.HandshakeOf(w.c.Server(), state))
		}
		return describeCertificate(state.PeerCertificates[0]), nil
	})
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
