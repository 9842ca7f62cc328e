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
	"slices"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// certify makes a certificate that nobody vouches for.
func certify(t *testing.T, name string, isCA bool, until time.Time) certificate.Certificate {
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
	return certificate.Read(der)
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
		r := mail.Refused{Server: server, Chain: []certificate.Certificate{leaf, issuer}, Connection: fmt.Sprint("c", i), Reason: "unknown"}
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
	quiet := mail.Refused{Server: mail.Server{Host: "quiet.test", Port: 993}, Chain: []certificate.Certificate{certify(t, "quiet", false, soon)}}
	if err := s.Refuse(ctx, quiet); err != nil {
		t.Fatal(err)
	}
	long := make([]certificate.Certificate, 50)
	for i := range long {
		long[i] = certify(t, "issuer", true, soon)
	}
	for range refusedPerServer + 5 {
		chain := append([]certificate.Certificate{certify(t, "leaf", false, soon)}, long...)
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
		if err := s.Refuse(ctx, mail.Refused{Server: server, Chain: []certificate.Certificate{leaf, issuer}}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(when string, server mail.Server, want ...certificate.Certificate) {
		t.Helper()
		got := s.Trusted(server)
		same := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			same = same && got[i].Equal(want[i].X509)
		}
		if !same {
			t.Errorf("%s: %d certificates are trusted for %s, not %d", when, len(got), server, len(want))
		}
	}
	is("before", one)
	short := strings.ToUpper(issuer.Fingerprint()[:shortest])
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
		{"the leaf is not trusted itself", func() error { _, err := s.Revoke(ctx, Choice{leaf.Fingerprint(), one.String()}); return err }, "is not trusted itself", "an issuer of it is"},
		{"removed while an issuer is trusted", func() error { _, err := s.Remove(ctx, Choice{leaf.Fingerprint(), one.String()}); return err }, "is trusted for one.test:993", "revoke it first"},
		{"an issuer removed", func() error { _, err := s.Remove(ctx, Choice{issuer.Fingerprint(), two.String()}); return err }, "is an issuer", "certificate of the server"},
	} {
		checkMistake(t, c.what, c.do(), c.fails, c.remedy)
	}
	if _, err := s.Revoke(ctx, Choice{issuer.Fingerprint(), one.String()}); err != nil {
		t.Error(err)
	}
	is("revoked", one)
	if _, err := s.Remove(ctx, Choice{leaf.Fingerprint(), one.String()}); err != nil {
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
	for port, chain := range map[int][]certificate.Certificate{1: {expired}, 2: {leaf, noCA}, 3: {leaf}} {
		if err := s.Refuse(ctx, mail.Refused{Server: mail.Server{Host: "h", Port: port}, Chain: chain}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what          string
		choice        Choice
		fails, remedy string
	}{
		{"expired", Choice{expired.Fingerprint(), ""}, "expired at", "renew"},
		{"an issuer that may not issue", Choice{noCA.Fingerprint(), ""}, "may not issue", "trust the server's own"},
		{"seen on two servers", Choice{leaf.Fingerprint(), ""}, "several servers showed this certificate: h:2, h:3", "--server"},
		{"unknown", Choice{strings.Repeat("0", 64), ""}, "no certificate with the fingerprint", "certs list"},
		{"of another server", Choice{leaf.Fingerprint(), "h:1"}, "no certificate with the fingerprint", "certs list"},
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
	if err := s.Refuse(ctx, mail.Refused{Server: server, Chain: []certificate.Certificate{first}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trust(ctx, Choice{first.Fingerprint(), ""}); err != nil {
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
	if _, err := s.Revoke(ctx, Choice{first.Fingerprint(), ""}); err != nil || len(s.Trusted(server)) != 0 {
		t.Errorf("%v", err)
	}
}

// TestWhatCannotBeParsedIsKeptAsItIs and listed, and no trust is put into it.
func TestWhatCannotBeParsedIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openStore(t, dir)
	leaf, odd := certify(t, "leaf", false, time.Now().Add(time.Hour)), mailtest.OddCertificates(t)
	var chains [][]certificate.Certificate
	for _, o := range odd {
		c := certificate.Read(o.Certificate.Certificate[0])
		if c.Problem != nil {
			chains = append(chains, []certificate.Certificate{c}, []certificate.Certificate{leaf, c, leaf})
		}
	}
	for i, chain := range chains {
		server := mail.Server{Host: "odd.test", Port: i + 1}
		if err := s.Refuse(ctx, mail.Refused{Server: server, Chain: chain, Reason: "odd"}); err != nil {
			t.Fatal(err)
		}
		bad := chain[len(chain)/2]
		_, err := s.Trust(ctx, Choice{bad.Fingerprint(), server.String()})
		checkMistake(t, bad.String(), err, "cannot be trusted: "+bad.Problem.Error(), "present another certificate")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	all, err := s.Refused(ctx)
	if err != nil || len(all) != len(chains) {
		t.Fatalf("%d chains of %d, %v", len(all), len(chains), err)
	}
	for i, r := range all {
		if len(r.Chain) != len(chains[i]) || len(r.Trusted) != len(r.Chain) {
			t.Fatalf("%d certificates of %d", len(r.Chain), len(chains[i]))
		}
		for j, c := range r.Chain {
			if !c.Equal(chains[i][j]) || c.String() != chains[i][j].String() {
				t.Errorf("%s is kept as %s", chains[i][j], c)
			}
		}
		if _, err := s.Remove(ctx, Choice{r.Chain[0].Fingerprint(), r.Server.String()}); err != nil {
			t.Error(err)
		}
	}
	if all, err := s.Refused(ctx); err != nil || len(all) != 0 {
		t.Errorf("%d chains are left, %v", len(all), err)
	}
}

// TestTrustThatCannotBeParsedStopsNothing: a certificate may have been trusted
// under a setting of GODEBUG that is no longer there. It is listed, and revoked.
func TestTrustThatCannotBeParsedStopsNothing(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := openStore(t, dir)
	server, good := mail.Server{Host: "odd.test", Port: 993}, certify(t, "good", false, time.Now().Add(time.Hour))
	odd := certificate.Read(mailtest.OddCertificates(t)[0].Certificate.Certificate[0])
	if err := s.write(ctx, "trust", func(tx *sql.Tx) error {
		for _, c := range []certificate.Certificate{good, odd} {
			if _, err := tx.ExecContext(ctx, `INSERT INTO trusted (host, port, fingerprint, certificate) VALUES ($1, $2, $3, $4)`,
				server.Host, server.Port, c.Fingerprint(), c.Raw); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if got := s.Trusted(server); len(got) != 1 || !got[0].Equal(good.X509) {
		t.Errorf("%d certificates are trusted", len(got))
	}
	if all, err := s.Refused(ctx); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if c, err := s.Revoke(ctx, Choice{odd.Fingerprint(), ""}); err != nil || c.Certificate.Problem == nil {
		t.Errorf("%+v, %v", c, err)
	}
	if all, err := s.Refused(ctx); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestChainsOfOlderVersionsAreRead: they are DER, one behind the other, and may
// not be parsed any more.
func TestChainsOfOlderVersionsAreRead(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	leaf, issuer := certify(t, "leaf", false, soon), certify(t, "issuer", true, soon)
	odd := certificate.Read(mailtest.OddCertificates(t)[0].Certificate.Certificate[0])
	for _, c := range []struct {
		record []byte
		chain  []certificate.Certificate
	}{
		{leaf.Raw, []certificate.Certificate{leaf}},
		{append(append([]byte{}, leaf.Raw...), issuer.Raw...), []certificate.Certificate{leaf, issuer}},
		{odd.Raw, []certificate.Certificate{odd}},
		{packed([]certificate.Certificate{leaf, odd, issuer}), []certificate.Certificate{leaf, odd, issuer}},
		{nil, []certificate.Certificate{certificate.Read(nil)}},
	} {
		if got := unpacked(c.record); !slices.EqualFunc(got, c.chain, certificate.Certificate.Equal) {
			t.Errorf("read %v, not %v", got, c.chain)
		}
	}
}
