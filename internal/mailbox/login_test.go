package mailbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// recorded is an Opener that keeps what the client sends, as it is on the wire.
func recorded() (*Opener, func() string) {
	var mu sync.Mutex
	var sent bytes.Buffer
	o := opener()
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &tapped{c, &mu, &sent}, err
	}
	return o, func() string {
		mu.Lock()
		defer mu.Unlock()
		return sent.String()
	}
}

type tapped struct {
	net.Conn
	mu   *sync.Mutex
	sent *bytes.Buffer
}

func (c *tapped) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.sent.Write(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// steps keeps the details of the steps of an Open.
func steps(t *testing.T) (context.Context, map[string]string) {
	t.Helper()
	details := make(map[string]string)
	return mail.WithTrace(t.Context(), &mail.Trace{Step: func(s mail.Step) { details[s.Name] = s.Detail }}), details
}

// logsIn opens a session and closes it, and holds it to the way in which it logged in.
func logsIn(t *testing.T, o *Opener, c *mail.Connection, way string) {
	t.Helper()
	ctx, details := steps(t)
	s, err := o.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if want := c.Username + " by " + way + ";"; !strings.HasPrefix(details[mail.OpAuthenticate], want) {
		t.Errorf("%q, not %q", details[mail.OpAuthenticate], want)
	}
}

// TestEveryMechanism logs in to a real server, and does not with another
// password. Outside TLS nothing on the wire holds it, unless the mechanism gives
// it away and there was to be no TLS.
func TestEveryMechanism(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, "auth_mechanisms = plain login cram-md5 apop scram-sha-256")
	both, pop3 := []mail.StoreType{mail.IMAP, mail.POP3}, []mail.StoreType{mail.POP3}
	for _, row := range []struct {
		auth   mail.AuthMethod
		stores []mail.StoreType
		way    map[mail.StoreType]string
		shows  bool // the password, to whoever reads the wire
	}{
		{"AUTO", both, map[mail.StoreType]string{mail.IMAP: "SCRAM-SHA-256", mail.POP3: "SCRAM-SHA-256"}, false},
		{"SCRAM_SHA_256", both, map[mail.StoreType]string{mail.IMAP: "SCRAM-SHA-256", mail.POP3: "SCRAM-SHA-256"}, false},
		{"CRAM_MD5", both, map[mail.StoreType]string{mail.IMAP: "CRAM-MD5", mail.POP3: "CRAM-MD5"}, false},
		{"APOP", pop3, map[mail.StoreType]string{mail.POP3: "APOP command"}, false},
		{"LOGIN", both, map[mail.StoreType]string{mail.IMAP: "LOGIN command", mail.POP3: "USER/PASS"}, true},
		{"PLAIN", both, map[mail.StoreType]string{mail.IMAP: "PLAIN", mail.POP3: "PLAIN"}, true},
	} {
		for _, store := range row.stores {
			for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
				t.Run(fmt.Sprint(row.auth, store, security), func(t *testing.T) {
					t.Parallel()
					o, sent := recorded()
					c := d.Connection(t, d.NewUser(t), store, security)
					c.Auth = row.auth
					logsIn(t, o, c, row.way[store])
					shown := false
					for _, spelling := range spellings(c.Username, c.Password.Literal) {
						shown = shown || strings.Contains(sent(), spelling)
					}
					if shown != (row.shows && security == mail.NoTLS) {
						t.Errorf("the password is on the wire: %v", shown)
					}

					wrong := *c
					wrong.Password.Literal = mail.NewSecret("wrong-" + d.Password)
					_, err := o.Open(t.Context(), &wrong)
					var e *mail.Error
					if !errors.As(err, &e) || e.Kind != mail.KindAuth || e.Op != mail.OpAuthenticate || e.Hint == "" || strings.Contains(err.Error()+e.Hint, d.Password) {
						t.Errorf("with another password: %v, %+v", err, e)
					}
				})
			}
		}
	}
}

// TestLOGINWithoutTheCommand is a server that has the mechanism alone.
func TestLOGINWithoutTheCommand(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, "auth_mechanisms = plain login", "imap_capability = +LOGINDISABLED")
	c := d.Connection(t, d.NewUser(t), mail.IMAP, mail.SSLTLS)
	c.Auth = "LOGIN"
	logsIn(t, opener(), c, "LOGIN")
	c.Password.Literal = mail.NewSecret("wrong-" + d.Password)
	_, err := opener().Open(t.Context(), c)
	var e *mail.Error
	if !errors.As(err, &e) || e.Kind != mail.KindAuth || e.Op != mail.OpAuthenticate || e.Hint == "" {
		t.Errorf("with another password: %v, %+v", err, e)
	}
}

// TestTokens log in to a real server, which asks an authorisation server about
// them, and says why it takes one no more.
func TestTokens(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	d := mailtest.StartDovecot(t, server.DovecotTokens(t)...)
	user := d.NewUser(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.PostForm(server.URL+"/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {server.Consent(user)}, "client_id": {"poller"}, "client_secret": {"the secret of the client"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&token); err != nil || token.Access == "" {
		t.Fatal(err, token)
	}
	for _, auth := range []mail.AuthMethod{mail.AuthXOAuth2, mail.AuthOAuthBearer} {
		for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
			for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
				t.Run(fmt.Sprint(auth, store, security), func(t *testing.T) {
					t.Parallel()
					o, sent := recorded()
					c := d.Connection(t, user, store, security)
					c.Auth, c.Password = auth, mail.SecretSource{Literal: mail.NewSecret(token.Access)}
					logsIn(t, o, c, string(auth))
					if shown := holds(sent(), token.Access); shown != (security == mail.NoTLS) {
						t.Errorf("the token is on the wire: %v", shown)
					}
					c.Password.Literal = mail.NewSecret("wrong" + token.Access)
					_, err := o.Open(t.Context(), c)
					var e *mail.Error
					if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(err.Error(), "status ") || holds(err.Error(), token.Access) {
						t.Errorf("with another token: %v", err)
					}
				})
			}
		}
	}
}

// holds reports whether a text has a secret in it, as it is or in base64, wherever in
// what was encoded it stands.
func holds(text, secret string) bool {
	if strings.Contains(text, secret) {
		return true
	}
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + secret))
		if strings.Contains(text, encoded[4:len(encoded)-4]) { // without what its neighbours are part of
			return true
		}
	}
	return false
}

// TestChannelBinding: where the server offers it, SCRAM is bound to the TLS
// session, so that nobody in between can pass it on; a server that knows the
// binding of another session refuses.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, row := range []struct {
			name   string
			forge  bool
			silent bool // says OK without having proved anything
			says   string
		}{
			{"bound", false, false, ""},
			{"somebody in between", true, false, "AUTHENTICATIONFAILED"},
			{"a server that lets everybody in", false, true, "did not prove that it knows the password"},
		} {
			t.Run(fmt.Sprint(tls.VersionName(version), row.name), func(t *testing.T) {
				t.Parallel()
				ca := mailtest.NewCA(t)
				config := ca.ServerTLS(t, mailtest.Host)
				config.MinVersion, config.MaxVersion = version, version
				said := make(chan string, 1)
				server := mailtest.Script(t, func(c *mailtest.Conn) {
					state := c.TLS(config)
					conversation := bound(t, state, config.Certificates[0], row.forge)
					c.Send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-256-PLUS] hi\r\n")
					if c.Number > 1 { // one login more may tell whether it is the password
						c.Expect(`LOGIN `)
						c.Send("{tag} NO [AUTHENTICATIONFAILED] no\r\n")
						return
					}
					line := c.Expect(`AUTHENTICATE SCRAM-SHA-256-PLUS `)
					said <- line
					if row.silent {
						c.Send("{tag} OK come in\r\n")
						c.Stall()
						return
					}
					step := func(text string) (string, error) {
						raw, err := base64.StdEncoding.DecodeString(text[strings.LastIndexByte(text, ' ')+1:])
						if err != nil {
							return "", err
						}
						answer, err := conversation.Step(string(raw))
						return base64.StdEncoding.EncodeToString([]byte(answer)), err
					}
					tag, _, _ := strings.Cut(line, " ")
					first, err := step(line)
					if err == nil {
						c.Send("+ " + first + "\r\n")
						first, err = step(c.Line())
					}
					if err != nil {
						c.Send(tag + " NO [AUTHENTICATIONFAILED] no\r\n")
						return
					}
					c.Send("+ " + first + "\r\n")
					if line := c.Line(); line != "" {
						t.Errorf("the last answer is %q", line)
					}
					c.Send(tag + " OK [CAPABILITY IMAP4rev1] in\r\n")
					c.Expect("SELECT|EXAMINE")
					c.Send("* 0 EXISTS\r\n* OK [UIDVALIDITY 1] fixed\r\n{tag} OK done\r\n")
					c.Expect("LOGOUT")
				})
				c := &mail.Connection{
					Name: "a", Host: mailtest.Host, Port: server.Port, Security: mail.SSLTLS, Username: "u", Auth: mail.AuthAuto, Store: mail.IMAP, Mailbox: "INBOX",
					Password: mail.SecretSource{Literal: mail.NewSecret("secret")}, Timeout: 10 * time.Second,
				}
				c.TLS.Roots = ca.Pool()
				s, err := opener().Open(t.Context(), c)
				if err == nil {
					_ = s.Close()
				}
				if row.says == "" && err != nil || row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
					t.Errorf("%v", err)
				}
				<-said
			})
		}
	}
}

// scramServer is one that knows the password of u.
func scramServer(t *testing.T) *scram.Server {
	client, err := scram.SHA256.NewClient("u", "secret", "")
	if err != nil {
		t.Error(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		t.Error(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Error(err)
	}
	return server
}

// bound is the server's side of a conversation that is bound to its TLS session,
// or to another one.
func bound(t *testing.T, state tls.ConnectionState, certificate tls.Certificate, forge bool) *scram.ServerConversation {
	bind := scram.NewTLSExporterBinding
	if state.Version < tls.VersionTLS13 {
		bind = scram.NewTLSServerEndpointBinding
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		if err != nil {
			t.Error(err)
		}
		state.PeerCertificates = []*x509.Certificate{leaf} // as the client has it
	}
	binding, err := bind(&state)
	if err != nil {
		t.Error(err)
	}
	if forge {
		binding.Data = append([]byte{^binding.Data[0]}, binding.Data[1:]...)
	}
	return scramServer(t).NewConversationWithChannelBindingRequired(binding)
}

// TestAPasswordThatStaysOutOfClearText is said to, where it is what may be missing.
func TestAPasswordThatStaysOutOfClearText(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		store  mail.StoreType
		script func(*mailtest.Conn)
	}{
		{mail.IMAP, func(c *mailtest.Conn) {
			c.Send("* OK [CAPABILITY IMAP4rev1 AUTH=CRAM-MD5 AUTH=PLAIN] hi\r\n")
			c.Expect("AUTHENTICATE CRAM-MD5")
			c.Send("+ PDEuMkBob3N0Pg==\r\n")
			c.Line()
			c.Send("{tag} NO AUTHENTICATE CRAM-MD5 authentication failed\r\n")
		}},
		{mail.POP3, func(c *mailtest.Conn) {
			c.Send("+OK hi <1.2@host>\r\n")
			c.Expect("CAPA")
			c.Send("+OK\r\nUSER\r\n.\r\n")
			c.Expect("APOP")
			c.Send("-ERR [AUTH] Bad login\r\n")
		}},
	} {
		t.Run(string(row.store), func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, row.script)
			c := mailtest.Connection(t, mailtest.NewCA(t), row.store, mail.NoTLS, server.Port, "user", "canary-secret")
			_, err := opener().Open(t.Context(), c)
			var e *mail.Error
			if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Hint, "auth: LOGIN") || !strings.Contains(e.Hint, "SSL_TLS") {
				t.Errorf("%v; %+v", err, e)
			}
			if strings.Contains(server.Clear(), "canary") || server.Connections() != 1 {
				t.Errorf("%d connections, which say %q", server.Connections(), server.Clear())
			}
		})
	}
}

// TestAWrongPasswordCostsOneLoginMore in a job, and a mechanism that the server
// offers and cannot do costs one login more in the life of the program, whatever
// comes of the others.
func TestAWrongPasswordCostsOneLoginMore(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	config := ca.ServerTLS(t, mailtest.Host)
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		c.TLS(config)
		c.Send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-256-PLUS] hi\r\n")
		c.Answer(
			mailtest.Rule{Line: " AUTHENTICATE SCRAM-SHA-256-PLUS ", Reply: "{tag} NO bad protocol / cancel\r\n"},
			mailtest.Rule{Line: " AUTHENTICATE SCRAM-SHA-256 ", Reply: "{tag} NO authentication failure\r\n"},
			mailtest.Rule{Line: " LOGIN ", Reply: "{tag} NO Login failed: authentication failure\r\n"},
			mailtest.Rule{Line: ".", Reply: "{tag} BAD not here\r\n"},
		)
	})
	c := mailtest.Connection(t, ca, mail.IMAP, mail.SSLTLS, server.Port, "user", "canary")
	o := opener()
	for job, logins := range []int{3, 2, 2} {
		before := server.Connections()
		_, err := o.Open(mail.WithLogins(t.Context()), c)
		var e *mail.Error
		if !errors.As(err, &e) || e.Kind != mail.KindAuth {
			t.Errorf("job %d: %v", job+1, err)
		}
		if n := server.Connections() - before; n != logins {
			t.Errorf("job %d logs in %d times, not %d: %v", job+1, n, logins, err)
		}
	}
}
