package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/tlspolicy"
)

// listenTLS serves handshakes, and behind each a greeting that ends the
// session, until the test ends.
func listenTLS(t *testing.T, config *tls.Config) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				s := tls.Server(c, config)
				if _, err := s.Write([]byte("* BYE done\r\n")); err == nil {
					_, _ = s.Read(make([]byte, 1)) // until the client is gone
				}
			})
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// outcome opens and returns what the tls step learned, and the error of the
// step that failed.
func outcome(t *testing.T, o *Opener, c *mail.Connection) (learned []string, e *mail.Error) {
	t.Helper()
	ctx := mail.WithTrace(t.Context(), &mail.Trace{Step: func(s mail.Step) {
		if s.Name == mail.OpTLS && s.Err == nil {
			learned = append(learned, s.Detail)
		}
	}})
	session, err := o.Open(ctx, c)
	if err == nil {
		_ = session.Close()
		t.Fatal("a server that says BYE was taken for a mailbox")
	}
	if !errors.As(err, &e) || e.Hint == "" {
		t.Fatalf("%v without a hint", err)
	}
	return learned, e
}

// TestWhatServerAndConnectionAgreeOn: what the server offers, what the
// connection allows, and what comes of it, to the letter.
func TestWhatServerAndConnectionAgreeOn(t *testing.T) {
	t.Parallel()
	const (
		v10, v11, v12, v13 = tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
		gcm128, gcm256     = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		cbc                = tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
		refused            = "tls: remote error: protocol version not supported"
		noSuite            = "tls: remote error: handshake failure"
	)
	ca := mailtest.NewCA(t)
	certificate := ca.Server(t, mailtest.Host)
	for _, c := range []struct {
		name      string
		low, high uint16   // what the server speaks
		suites    []uint16 // of the server, up to 1.2
		versions  []uint16 // allowed
		accepted  []uint16 // likewise
		learned   []string
		fails     string
	}{
		{"the best of both", v10, v13, nil, nil, nil, []string{"TLS 1.3, TLS_AES_128_GCM_SHA256"}, ""},
		{"1.2 by default", v10, v12, []uint16{gcm256}, nil, nil, []string{"TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, ""},
		{"1.1 is too old by default", v10, v11, nil, nil, nil, nil, refused},
		{"1.0 alone, with ALL", v10, v10, nil, tlspolicy.AllVersions(), nil, []string{"TLS 1.0, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"}, ""},
		{"1.0 alone, by default", v10, v10, nil, nil, nil, nil, refused},
		{"1.3 alone, and 1.2 allowed", v13, v13, nil, []uint16{v12}, nil, nil, refused},
		{"a gap, the older one", v10, v12, nil, []uint16{v10, v13}, nil, []string{"the server refuses TLS 1.3 and newer versions; going on with older ones", "TLS 1.0, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"}, ""},
		{"a gap, the newer one", v10, v13, nil, []uint16{v10, v13}, nil, []string{"TLS 1.3, TLS_AES_128_GCM_SHA256"}, ""},
		{"a gap, and what lies in it", v11, v12, nil, []uint16{v10, v13}, nil, []string{"the server refuses TLS 1.3 and newer versions; going on with older ones"}, refused},
		{"one suite alone", v12, v12, nil, nil, []uint16{gcm256}, []string{"TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, ""},
		{"a suite of 1.2, and the server could do 1.3", v12, v13, nil, nil, []uint16{gcm128}, []string{"TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, ""},
		{"no suite in common", v12, v12, []uint16{gcm128}, nil, []uint16{gcm256}, nil, noSuite},
		{"an old suite is not accepted by default", v12, v12, []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}, nil, nil, nil, noSuite},
		{"an old suite that is listed", v12, v12, []uint16{cbc}, nil, []uint16{cbc}, []string{"TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"}, ""},
		{"1.3 with a suite that is not accepted", v13, v13, nil, []uint16{v13}, []uint16{tls.TLS_CHACHA20_POLY1305_SHA256}, nil, "tls: server chose TLS 1.3 with TLS_AES_128_GCM_SHA256, which is not among the accepted cipher suites"},
		{"a list that can never work", v10, v13, nil, []uint16{v13}, []uint16{gcm256}, nil, "tls: no TLS version is accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &tls.Config{MinVersion: c.low, MaxVersion: c.high, CipherSuites: c.suites, Certificates: []tls.Certificate{certificate}}
			connection := mailtest.Connection(t, ca, mail.IMAP, mail.SSLTLS, listenTLS(t, server), "user", "in-process-canary")
			connection.TLS.Versions, connection.TLS.Suites = c.versions, c.accepted
			learned, e := outcome(t, opener(), connection)
			if !slices.Equal(learned, c.learned) {
				t.Errorf("learned %q", learned)
			}
			if c.fails == "" {
				c.fails = "greeting: server refused: done" // all went well up to there
			}
			if e.Error() != c.fails {
				t.Errorf("got %q, want %q", e.Error(), c.fails)
			}
		})
	}
}

// TestAClientCertificateIsMissedOrRefused: with TLS 1.3 the server says so only
// when the client takes the handshake for done.
func TestAClientCertificateIsMissedOrRefused(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	stranger := mailtest.NewCA(t).Server(t, "client")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := &tls.Config{
			MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{ca.Server(t, mailtest.Host)},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		}
		port := listenTLS(t, server)
		for _, c := range []struct {
			key  *mail.ClientKey
			hint string
		}{
			{nil, "the server demands a client certificate: add one to keys: and name it with client_key_label:"},
			{&mail.ClientKey{Label: "acme"}, "the server does not take the client certificate of key acme"},
		} {
			connection := mailtest.Connection(t, ca, mail.IMAP, mail.SSLTLS, port, "user", "in-process-canary")
			connection.Key = c.key
			o := opener()
			o.Keys = oneKey{stranger}
			if _, e := outcome(t, o, connection); e.Kind != mail.KindTLS || !strings.HasPrefix(e.Hint, c.hint) || !strings.Contains(e.Error(), "remote error: ") {
				t.Errorf("%s: %v, %+v", tls.VersionName(version), e, e)
			}
		}
	}
}

type oneKey struct{ certificate tls.Certificate }

func (k oneKey) Key(context.Context, *mail.ClientKey) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(k.certificate.Certificate[0])
	k.certificate.Leaf = leaf
	return &k.certificate, err
}

// trust is what one operator thinks.
type trust struct {
	trusted []*x509.Certificate
	kept    []mail.Refused
}

func (o *trust) Trusted(mail.Server) []*x509.Certificate { return o.trusted }
func (o *trust) Refuse(_ context.Context, r mail.Refused) error {
	o.kept = append(o.kept, r)
	return nil
}

func TestACertificateThatIsNotTrustedIsKeptForReview(t *testing.T) {
	t.Parallel()
	ca, other := mailtest.NewCA(t), mailtest.NewCA(t)
	expired := ca.Issue(t, &x509.Certificate{DNSNames: []string{"x.test"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for _, c := range []struct {
		name  string
		cert  tls.Certificate
		roots *mailtest.CA
		match bool
		fails string
		hint  string
		kept  bool
	}{
		{"an unknown issuer", ca.Server(t, "x.test"), other, false, "certificate signed by unknown authority", "`poller certs trust ", true},
		{"an unknown issuer, and another name", ca.Server(t, "x.test"), other, true, "certificate signed by unknown authority", "`poller certs show ", true},
		{"expired", expired, ca, false, "expired", "has to be renewed", true},
		{"another name", ca.Server(t, "x.test"), ca, true, "cannot validate certificate for 127.0.0.1", "trusting a certificate does not give it another name", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port := listenTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.cert}})
			connection := mailtest.Connection(t, c.roots, mail.IMAP, mail.SSLTLS, port, "user", "in-process-canary")
			connection.TLS.MatchHostname = c.match
			o, operator := opener(), &trust{}
			o.Trust = operator
			learned, e := outcome(t, o, connection)
			if e.Op != mail.OpCertificate || !strings.Contains(e.Error(), c.fails) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%v, hint %s", e, e.Hint)
			}
			if len(learned) != 1 || !strings.HasPrefix(learned[0], "TLS 1.3, ") {
				t.Errorf("TLS itself: %q", learned)
			}
			if (len(operator.kept) == 1) != c.kept {
				t.Fatalf("kept: %+v", operator.kept)
			}
			if c.kept {
				if k := operator.kept[0]; k.Server != connection.Server() || k.Connection != connection.Name || k.Reason != e.Err.Error() || len(k.Chain) == 0 || string(k.Chain[0].Raw) != string(c.cert.Certificate[0]) {
					t.Errorf("%+v", k)
				}
			}
		})
	}
}

// TestSessionsAreResumedUnderTheSameSettingsAlone, over both protocols.
func TestSessionsAreResumedUnderTheSameSettingsAlone(t *testing.T) {
	t.Parallel()
	imap, pop3 := mailtest.NewIMAP(t), mailtest.NewPOP3(t)
	key := mailtest.NewCA(t).Server(t, "client")
	for name, connection := range map[string]func(mail.Security) *mail.Connection{
		"IMAP": func(s mail.Security) *mail.Connection { return imap.Connection(t, imap.NewUser(t), s) },
		"POP3": func(s mail.Security) *mail.Connection { return pop3.Connection(t, pop3.NewUser(t), s) },
	} {
		for _, security := range []mail.Security{mail.SSLTLS, mail.StartTLS} {
			t.Run(name+" "+string(security), func(t *testing.T) {
				t.Parallel()
				var shakes []mail.Handshake
				o := opener()
				o.Keys = oneKey{key}
				o.Secured = func(h mail.Handshake) { shakes = append(shakes, h) }
				first := connection(security)
				first.TLS.Identity = "one"
				second := *first
				keyed, otherwise, unknown := *first, *first, *first
				keyed.Key = &mail.ClientKey{Label: "acme"}
				otherwise.TLS.Identity = "two"
				unknown.TLS.Identity = ""
				for _, c := range []struct {
					what       string
					connection *mail.Connection
					resumed    bool
				}{
					{"the first poll", first, false},
					{"the next poll", first, true},
					{"another connection with the same settings", &second, true},
					{"other TLS settings", &otherwise, false},
					{"with a key", &keyed, false},
					{"with the same key again", &keyed, true},
					{"settings that nothing is known of", &unknown, false},
					{"these again", &unknown, false},
				} {
					s, err := o.Open(t.Context(), c.connection)
					if err != nil {
						t.Fatalf("%s: %v", c.what, err)
					}
					if err := s.Close(); err != nil {
						t.Errorf("%s: %v", c.what, err)
					}
					if h := shakes[len(shakes)-1]; h.Resumed != c.resumed || h.Server != first.Server() || h.Version != "TLS 1.3" || h.Expires.IsZero() {
						t.Errorf("%s: %+v", c.what, h)
					}
				}
			})
		}
	}
}

// TestEXTERNAL logs in with a client certificate alone, at a real server that
// takes the user from it.
func TestEXTERNAL(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	d := mailtest.StartDovecot(t,
		"auth_mechanisms = plain external", "ssl_ca = <"+ca.PEMFile(t), "ssl_verify_client_cert = yes", "ssl_require_crl = no",
		"auth_ssl_username_from_cert = yes", "auth_ssl_require_client_cert = yes",
		"passdb {\n driver = static\n args = nopassword\n mechanisms = external\n}")
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, security := range []mail.Security{mail.SSLTLS, mail.StartTLS} {
			t.Run(string(store)+" "+string(security), func(t *testing.T) {
				t.Parallel()
				user := d.NewUser(t)
				d.Deliver(t, user, []byte("Subject: x\r\n\r\nx\r\n"))
				c := d.Connection(t, user, store, security)
				c.Key, c.Password, c.Auth = &mail.ClientKey{Label: "acme"}, mail.SecretSource{}, mail.AuthExternal
				o := opener()
				o.Keys = oneKey{ca.Client(t, user)}
				for _, auth := range []mail.AuthMethod{mail.AuthExternal, mail.AuthAuto} {
					c.Auth = auth
					for _, name := range []string{user, ""} {
						c.Username = name
						s, err := o.Open(t.Context(), c)
						if err != nil {
							t.Fatalf("%s, user name %q: %v", auth, name, err)
						}
						if _, messages := s.Box(); messages != 1 {
							t.Errorf("%d messages", messages)
						}
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
				}
				var e *mail.Error
				o.Keys, c.Auth = oneKey{mailtest.NewCA(t).Client(t, user)}, mail.AuthExternal
				_, err := o.Open(t.Context(), c)
				if !errors.As(err, &e) || e.Kind != mail.KindAuth || e.Op != mail.OpAuthenticate || e.Hint == "" {
					t.Errorf("with the certificate of another authority: %v, %+v", err, e)
				}
				c.Key, c.Auth, c.Username = nil, mail.AuthAuto, user
				c.Password = mail.SecretSource{Literal: mail.NewSecret(d.Password)}
				_, err = o.Open(t.Context(), c)
				if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Hint, "it asked for a client certificate too: see client_key_label:") {
					t.Errorf("without the certificate: %v, %+v", err, e)
				}
			})
		}
	}
}
