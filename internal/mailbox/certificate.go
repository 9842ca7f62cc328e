package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
)

// describeCertificate says in one line whose certificate it is.
func describeCertificate(c *x509.Certificate) string {
	return fmt.Sprintf("%s, issued by %s, valid until %s", certificate.Of(c), c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
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
	var chain []certificate.Certificate
	for _, c := range refused.UnverifiedCertificates {
		chain = append(chain, certificate.Of(c))
	}
	e := &mail.Error{Op: mail.OpCertificate, Kind: mail.KindTLS, Err: refused.Err}
	short := brief(chain[0])
	switch {
	case errors.As(err, &hostname):
		e.Hint = "name the host as the certificate does, or set match_server_hostname: DISABLED if that cannot be; trusting a certificate does not give it another name"
		return w.cleaned(e)
	case errors.As(err, &authority) && w.opener.Trust == nil: // poller init
		e.Hint = "if it is the right one, name its issuer (--ca-file, ca_file:); or have the file written all the same, and `poller test` keeps the certificate for `poller certs`"
	case errors.As(err, &authority) && strings.Contains(err.Error(), "insecure"): // algorithm, or key
		e.Hint = "look at it with `poller certs show " + short + "`; its signature is too weak to count for any issuer: if it is the right one, `poller certs trust " + short + "`, or have it made anew with SHA-256 and keys that are long enough"
	case errors.As(err, &authority):
		e.Hint = "look at it with `poller certs show " + short + "`; if it is the right one, `poller certs trust " + short + "`, or add its issuer with ca_file:"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Hint = "the server's certificate, or one of its issuers, has to be renewed; see also whether the clock of this host is right"
	default:
		e.Hint = "the server's certificate has to be replaced"
	}
	return w.kept(ctx, e, chain)
}

// remedies are what helps against certificates that crypto/tls refuses by
// itself, by what it says.
var remedies = []struct{ reason, hint string }{
	{"negative serial number", "take x509negativeserial=0 out of GODEBUG in the unit, or have the certificate made anew"},
	{"RSA key larger than", "have the certificate made anew with an RSA key of 2048 to 8192 bits, or set Environment=GODEBUG=tlsmaxrsasize=16384 in the unit"},
	{"keys are insecure", "have the certificate made anew with an RSA key of 2048 bits or more; until then Environment=GODEBUG=rsa1024min=0 in the unit takes a key that can be broken"},
	{"public key", "have the certificate made anew with an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key; no setting makes up for it"},
	{"elliptic curve", "have the certificate made anew with a key on the curve P-256, P-384 or P-521; no setting makes up for it"},
}

// unusable makes an Error out of a certificate that crypto/tls refuses by itself,
// so that trusting it cannot help, and keeps it for review.
func (w *wire) unusable(ctx context.Context, reason string, chain []certificate.Certificate) error {
	e := &mail.Error{Op: mail.OpCertificate, Kind: mail.KindTLS, Err: fmt.Errorf("server's certificate cannot be used: %s", reason)}
	e.Hint = "have the certificate made anew; no setting makes up for it"
	for _, r := range remedies {
		if strings.Contains(reason, r.reason) {
			e.Hint = r.hint
			break
		}
	}
	at := slices.IndexFunc(chain, func(c certificate.Certificate) bool {
		return c.Problem != nil && strings.Contains(reason, c.Problem.Error())
	})
	if at > 0 {
		e.Err = fmt.Errorf("certificate %d of %d that the server sent cannot be used: %s", at+1, len(chain), reason)
		e.Hint = "have the server leave this certificate of an issuer out of what it sends; or " + e.Hint
	}
	if len(chain) == 0 {
		return w.cleaned(e)
	}
	if w.opener.Trust != nil {
		e.Hint += "; `poller certs show " + brief(chain[max(at, 0)]) + "` shows it"
	}
	return w.kept(ctx, e, chain)
}

// kept is e, with the chain that it is about kept for review.
func (w *wire) kept(ctx context.Context, e *mail.Error, chain []certificate.Certificate) error {
	e = w.cleaned(e)
	if w.opener.Trust == nil {
		return e
	}
	refused := mail.Refused{Server: w.c.Server(), Chain: chain, Connection: w.c.Name, Reason: e.Err.Error()}
	if err := w.opener.Trust.Refuse(ctx, refused); err != nil {
		w.log.Error("certificate not kept for review", zap.String("connection", w.c.Name), zap.Error(err))
	}
	return e
}

// brief is as much of a fingerprint as an operator types.
func brief(c certificate.Certificate) string { return c.Fingerprint()[:16] }
