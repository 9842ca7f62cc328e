package state

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
)

// certify makes a certificate that nobody vouches for.
func certify(t *testing.T, name string, isCA bool, until time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: isCA, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAChainIsKeptOnceAndCounted(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openStore(t, dir)
	soon := time.Now().Add(time.Hour)
	leaf, issuer := certify(t, "leaf", false, soon), certify(t, "issuer", true, soon)
	server := mail.Server{Host: "mail.test", Port: 993}
	for i := range 3 {
		r := mail.Refused{Server: server, Chain: []*x509.Certificate{leaf, issuer}, Connection: fmt.Sprint("c", i), Reason: "unknown"}
		if err := s.Refuse(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	all, err := s.Refused(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d chains, %v", len(all), err)
	}
	r := all[0]
	if r.Server != server || r.Times != 3 || r.Connection != "c2" || r.Reason != "unknown" || len(r.Chain) != 2 || !r.Chain[0].Equal(leaf) || !r.Chain[1].Equal(issuer) ||
		r.First.IsZero() || r.Last.Before(r.First) || r.Trusted[0] || r.Trusted[1] {
		t.Errorf("%+v", r)
	}
}

// TestAServerWithEndlessCertificatesPushesOutItsOwn, and a chain without end is
// cut short.
func TestAServerWithEndlessCertificatesPushesOutItsOwn(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := openStore(t, t.TempDir())
	soon := time.Now().Add(time.Hour)
	quiet := mail.Refused{Server: mail.Server{Host: "quiet.test", Port: 993}, Chain: []*x509.Certificate{certify(t, "quiet", false, soon)}}
	if err := s.Refuse(ctx, quiet); err != nil {
		t.Fatal(err)
	}
	long := make([]*x509.Certificate, 50)
	for i := range long {
		long[i] = certify(t, "issuer", true, soon)
	}
	for range refusedPerServer + 5 {
		chain := append([]*x509.Certificate{certify(t, "leaf", false, soon)}, long...)
		if err := s.Refuse(ctx, mail.Refused{Server: mail.Server{Host: "loud.test", Port: 993}, Chain: chain}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Refused(ctx)
	if err != nil || len(all) != refusedPerServer+1 || len(all[0].Chain) != chainLength {
		t.Errorf("%d chains, the first of %d certificates, %v", len(all), len(all[0].Chain), err)
	}
}

func TestTrustIsForOneServerAndLastsUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openStore(t, dir)
	soon := time.Now().Add(time.Hour)
	leaf, issuer := certify(t, "leaf", false, soon), certify(t, "issuer", true, soon)
	one, two := mail.Server{Host: "one.test", Port: 993}, mail.Server{Host: "two.test", Port: 993}
	for _, server := range []mail.Server{one, two} {
		if err := s.Refuse(ctx, mail.Refused{Server: server, Chain: []*x509.Certificate{leaf, issuer}}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(when string, server mail.Server, want ...*x509.Certificate) {
		t.Helper()
		got := s.Trusted(server)
		same := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			same = same && got[i].Equal(want[i])
		}
		if !same {
			t.Errorf("%s: %d certificates are trusted for %s, not %d", when, len(got), server, len(want))
		}
	}
	is("before", one)
	short := strings.ToUpper(mail.Fingerprint(issuer)[:shortest])
	got, err := s.Trust(ctx, Choice{short, "ONE.test:993"})
	if err != nil || got.Server != one || got.Own || !got.Certificate.Equal(issuer) {
		t.Fatalf("%+v, %v", got, err)
	}
	is("trusted", one, issuer)
	is("trusted", two)
	if _, err := s.Trust(ctx, Choice{short, "one.test:993"}); err != nil {
		t.Errorf("trusted twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	is("after a restart", one, issuer)
	all, err := s.Refused(ctx)
	if err != nil || !all[0].Trusted[1] || all[0].Trusted[0] || all[1].Trusted[1] {
		t.Errorf("%+v, %v", all, err)
	}
	for _, c := range []struct {
		what   string
		do     func() error
		fails  string
		remedy string
	}{
		{"the leaf is not trusted itself", func() error { _, err := s.Revoke(ctx, Choice{mail.Fingerprint(leaf), one.String()}); return err }, "is not trusted itself", "an issuer of it is"},
		{"removed while an issuer is trusted", func() error { _, err := s.Remove(ctx, Choice{mail.Fingerprint(leaf), one.String()}); return err }, "is trusted for one.test:993", "revoke it first"},
		{"an issuer removed", func() error { _, err := s.Remove(ctx, Choice{mail.Fingerprint(issuer), two.String()}); return err }, "is an issuer", "certificate of the server"},
	} {
		checkMistake(t, c.what, c.do(), c.fails, c.remedy)
	}
	if _, err := s.Revoke(ctx, Choice{mail.Fingerprint(issuer), one.String()}); err != nil {
		t.Error(err)
	}
	is("revoked", one)
	if _, err := s.Remove(ctx, Choice{mail.Fingerprint(leaf), one.String()}); err != nil {
		t.Error(err)
	}
	if all, err := s.Refused(ctx); err != nil || len(all) != 1 || all[0].Server != two {
		t.Errorf("%+v, %v", all, err)
	}
}

func checkMistake(t *testing.T, what string, err error, fails, remedy string) {
	t.Helper()
	e, ok := errors.AsType[*mail.Error](err)
	if !ok || e.Kind != mail.KindConfig || !strings.Contains(e.Err.Error(), fails) || !strings.Contains(e.Hint, remedy) {
		t.Errorf("%s: %v, %+v", what, err, e)
	}
}

func TestWhatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := openStore(t, t.TempDir())
	soon := time.Now().Add(time.Hour)
	expired, leaf, noCA := certify(t, "expired", false, time.Now().Add(-time.Minute)), certify(t, "leaf", false, soon), certify(t, "no CA", false, soon)
	for port, chain := range map[int][]*x509.Certificate{1: {expired}, 2: {leaf, noCA}, 3: {leaf}} {
		if err := s.Refuse(ctx, mail.Refused{Server: mail.Server{Host: "h", Port: port}, Chain: chain}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what          string
		choice        Choice
		fails, remedy string
	}{
		{"expired", Choice{mail.Fingerprint(expired), ""}, "expired at", "renew"},
		{"an issuer that may not issue", Choice{mail.Fingerprint(noCA), ""}, "may not issue", "trust the server's own"},
		{"seen on two servers", Choice{mail.Fingerprint(leaf), ""}, "several servers showed this certificate: h:2, h:3", "--server"},
		{"unknown", Choice{strings.Repeat("0", 64), ""}, "no certificate with the fingerprint", "certs list"},
		{"of another server", Choice{mail.Fingerprint(leaf), "h:1"}, "no certificate with the fingerprint", "certs list"},
		{"too short", Choice{"abc", ""}, "is no fingerprint", "certs list"},
	} {
		_, err := s.Trust(ctx, c.choice)
		checkMistake(t, c.what, err, c.fails, c.remedy)
	}
	if got := s.Trusted(mail.Server{Host: "h", Port: 2}); len(got) != 0 {
		t.Errorf("%d are trusted", len(got))
	}
}

// TestTrustOutlivesItsChain: what is trusted is listed also when the chain it
// came with was pushed out, so that it can be revoked.
func TestTrustOutlivesItsChain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := openStore(t, t.TempDir())
	soon, server := time.Now().Add(time.Hour), mail.Server{Host: "h", Port: 993}
	first := certify(t, "first", false, soon)
	if err := s.Refuse(ctx, mail.Refused{Server: server, Chain: []*x509.Certificate{first}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trust(ctx, Choice{mail.Fingerprint(first), ""}); err != nil {
		t.Fatal(err)
	}
	if err := s.write(ctx, "push out", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM refused`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	all, err := s.Refused(ctx)
	if err != nil || len(all) != 1 || !all[0].Trusted[0] {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := s.Revoke(ctx, Choice{mail.Fingerprint(first), ""}); err != nil || len(s.Trusted(server)) != 0 {
		t.Errorf("%v", err)
	}
}
