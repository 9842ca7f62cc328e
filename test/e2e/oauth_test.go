package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// tokenSite is a site with a mailbox on a Dovecot that takes tokens.
func tokenSite(t *testing.T, store mail.StoreType) (*rig.Site, *mailtest.Dovecot, *mailtest.AuthServer, rig.Settings) {
	t.Helper()
	server := mailtest.StartAuthServer(t)
	d := mailtest.StartDovecot(t, server.DovecotTokens(t)...)
	c := rig.Connect(t, d, "orders", d.NewUser(t), store, mail.SSLTLS)
	delete(c, "password")
	c["oauth2"] = block(server, "")
	c["match_server_hostname"] = "ENABLED"
	return rig.New(t, c), d, server, c
}

// block is an oauth2: block for a server.
func block(server *mailtest.AuthServer, refresh string) rig.Settings {
	b := rig.Settings{
		"provider": "custom", "client_id": "poller", "client_secret": "the secret of the client",
		"token_url": server.URL + "/token", "device_url": server.URL + "/device",
	}
	if refresh != "" {
		b["refresh_token"] = refresh
	}
	return b
}

// discreet fails the test when a token was said or written where others see it.
func discreet(t *testing.T, server *mailtest.AuthServer, where, text string) {
	t.Helper()
	for _, secret := range append(server.Secrets(), "the secret of the client") {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows a token:\n%s", where, text)
		}
	}
}

func TestATokenThatExpiresBetweenTwoPolls(t *testing.T) {
	t.Parallel()
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			s, d, server, c := tokenSite(t, store)
			user := c["username"].(string)
			c["oauth2"], c["schedule"] = block(server, server.Consent(user)), "@every 1s"
			s.Configure(c)
			server.Live(time.Second)
			server.Rotate()
			p := s.Start().Ready()
			for n := range 3 {
				mark := p.Mark()
				d.Deliver(t, user, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n))
				p.Await(mark, `"msg":"poll finished","connection":"orders".*"messages":1`)
			}
			server.Await(t, 3)
			text, _ := p.Get("/metrics")
			if !regexp.MustCompile(`poller_oauth_refreshes_total\{result="ok"\} [1-9]`).MatchString(text) ||
				!regexp.MustCompile(`poller_oauth_token_expiry_timestamp_seconds\{connection="orders"\} [1-9]`).MatchString(text) {
				t.Errorf("the metrics are\n%s", text)
			}
			discreet(t, server, "the metrics page", text)
			for _, view := range []string{"/api/v1/oauth", "/api/v1/connections", "/api/v1/jobs"} {
				text, _ := p.Get(view)
				discreet(t, server, view, text)
			}
			log, _ := p.Log.From(0)
			discreet(t, server, "the log", log)
			if strings.Contains(log, `"level":"error"`) {
				t.Errorf("a poll failed:\n%s", log)
			}
		})
	}
}

func TestATokenThatIsRefusedIsReplacedWithinTheJob(t *testing.T) {
	t.Parallel()
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			s, d, server, c := tokenSite(t, store)
			user := c["username"].(string)
			c["oauth2"], c["schedule"] = block(server, server.Consent(user)), "@every 1s"
			c["max_retries"], c["retry_interval"] = 1, "1s"
			s.Configure(c)
			p := s.Start().Ready()
			d.Deliver(t, user, []byte("Subject: 1\r\n\r\nx\r\n"))
			p.Await(0, `"msg":"poll finished","connection":"orders".*"messages":1`)
			mark := p.Mark()
			server.Revoke()
			d.Deliver(t, user, []byte("Subject: 2\r\n\r\nx\r\n"))
			p.Await(mark, `"msg":"poll finished","connection":"orders".*"attempts":2`)
			if asked := server.Asked(); len(asked) != 2 || asked[0].Get("refresh_token") != asked[1].Get("refresh_token") {
				t.Errorf("%d requests, want 2 with the same refresh token", len(asked))
			}
		})
	}
}

func TestAnEndpointThatIsDownForAMoment(t *testing.T) {
	t.Parallel()
	s, d, server, c := tokenSite(t, mail.IMAP)
	user := c["username"].(string)
	c["oauth2"], c["max_retries"], c["retry_interval"] = block(server, server.Consent(user)), 1, "1s"
	s.Configure(c)
	d.Deliver(t, user, []byte("Subject: 1\r\n\r\nx\r\n"))
	down := true
	server.Take(func(w http.ResponseWriter, _ *http.Request) bool {
		if down {
			http.Error(w, "try later", http.StatusServiceUnavailable)
		}
		down = !down
		return !down
	})
	if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Attempts != 2 || v.Messages != 1 {
		t.Errorf("%+v, %+v", v, v.Error)
	}
	c["max_retries"] = 0
	s.Configure(c)
	if v := s.Poll("orders")[0]; v.Error == nil || v.Error.Op != "get token" || v.Error.Kind != "network" || !strings.Contains(v.Error.Message, "HTTP status 503: try later") {
		t.Errorf("%+v, %+v", v, v.Error)
	}
}

// TestARotatedTokenSurvivesAKill, once while it is on its way.
func TestARotatedTokenSurvivesAKill(t *testing.T) {
	t.Parallel()
	s, d, server, c := tokenSite(t, mail.IMAP)
	user := c["username"].(string)
	c["oauth2"], c["schedule"] = block(server, server.Consent(user)), "@every 1s"
	s.Configure(c)
	server.Rotate()
	d.Deliver(t, user, []byte("Subject: 1\r\n\r\nx\r\n"))
	p := s.Start().Ready()
	p.Await(0, `"msg":"poll finished","connection":"orders".*"messages":1`)
	p.Kill()
	<-p.Done

	// The configured token is worth nothing by now; the stored one is.
	d.Deliver(t, user, []byte("Subject: 2\r\n\r\nx\r\n"))
	if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
		t.Errorf("after a kill: %+v, %+v", v, v.Error)
	}

	// The server has voided the old token, and the daemon is dead before it
	// has read the answer.
	arrived, answer := make(chan struct{}), make(chan struct{})
	server.Take(func(http.ResponseWriter, *http.Request) bool {
		close(arrived)
		<-answer
		return false
	})
	p = s.Start().Ready()
	<-arrived
	p.Kill()
	<-p.Done
	server.Take(nil)
	close(answer)
	d.Deliver(t, user, []byte("Subject: 3\r\n\r\nx\r\n"))
	server.Await(t, 3)
	v := s.Poll("orders")[0]
	if v.Error == nil || v.Error.Op != "get token" || v.Error.Kind != "auth" || !strings.Contains(v.Error.Hint, "poller oauth login orders") {
		t.Fatalf("after a kill ahead of the store: %+v, %+v", v, v.Error)
	}
	// Which is what helps.
	if out, errs, code := s.Run("oauth", "login", "orders"); code != 0 || !strings.Contains(errs, "ABCD-EFGH") {
		t.Fatalf("login: %d\n%s%s", code, out, errs)
	}
}

func TestManyConnectionsShareAToken(t *testing.T) {
	t.Parallel()
	s, d, server, c := tokenSite(t, mail.IMAP)
	user := c["username"].(string)
	d.Deliver(t, user, []byte("Subject: 1\r\n\r\nx\r\n"))
	var all []rig.Settings
	refresh := server.Consent(user)
	for i := range 100 {
		all = append(all, c.With(rig.Settings{
			"name": fmt.Sprintf("c%d", i), "oauth2": block(server, refresh), "schedule": "@every 1s", "folder": s.Mkdir(fmt.Sprintf("c%d", i)),
		}))
	}
	s.Configure(all...)
	p := s.Start().Ready()
	for i := range all {
		p.Await(0, fmt.Sprintf(`"msg":"poll finished","connection":"c%d".*"messages":1`, i))
	}
	if n := len(server.Asked()); n != 1 {
		t.Errorf("a hundred connections made %d requests", n)
	}
}

func TestOAuthLogin(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon %v", running), func(t *testing.T) {
			t.Parallel()
			s, d, server, c := tokenSite(t, mail.IMAP)
			d.Deliver(t, c["username"].(string), []byte("Subject: 1\r\n\r\nx\r\n"))
			server.Rotate()
			var p *rig.Daemon
			if running {
				p = s.Start().Ready()
				if _, errs, code := s.Run("check"); code != 0 || !strings.Contains(errs, "warning: connection orders: oauth2: there is no refresh token yet; run `poller oauth login orders`") {
					t.Errorf("check: %d\n%s", code, errs)
				}
			}
			if v := s.Poll("orders")[0]; v.Error == nil || v.Error.Kind != "auth" || !strings.Contains(v.Error.Hint, "poller oauth login orders") {
				t.Errorf("before the login: %+v", v)
			}
			if out, _, _ := s.Run("oauth", "status"); !strings.Contains(out, "none: poller oauth login orders") {
				t.Errorf("status before the login:\n%s", out)
			}
			out, errs, code := s.Run("oauth", "login", "orders")
			if code != 0 || !strings.Contains(errs, server.URL+"/activate") || !strings.Contains(errs, "ABCD-EFGH") || !strings.Contains(out, "poller test orders") {
				t.Fatalf("login: %d\n%s%s", code, out, errs)
			}
			discreet(t, server, "login", out+errs)
			// AuthServer lets in a user of its own; the mailbox is another's.
			if v := s.Poll("orders")[0]; v.Error == nil || v.Error.Op != "authenticate" || v.Error.Kind != "auth" || !strings.Contains(v.Error.Hint, "scopes:") {
				t.Errorf("with the token of somebody else: %+v, %+v", v, v.Error)
			}
			out, _, code = s.Run("oauth", "status", "--json")
			var views []struct {
				Connection, Provider, Grant string
				Refresh                     string `json:"refresh_token"`
			}
			if err := json.Unmarshal([]byte(out), &views); err != nil || code != 0 || len(views) != 1 || views[0].Refresh != "stored" || views[0].Grant != "refresh_token" {
				t.Errorf("status: %d %v\n%s", code, err, out)
			}
			discreet(t, server, "status", out)
			if running {
				if code := p.Stop(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			}
			private(t, filepath.Join(s.Dir, "state"))
		})
	}
}

// private fails the test when others can read what is in a directory.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheConnectionTestShowsTheToken(t *testing.T) {
	t.Parallel()
	s, _, server, c := tokenSite(t, mail.IMAP)
	c["oauth2"] = block(server, server.Consent(c["username"].(string)))
	s.Configure(c)
	out, errs, code := s.Run("test", "orders")
	if code != 0 || !strings.Contains(out, "get token") || !strings.Contains(out, "good until") {
		t.Errorf("test: %d\n%s%s", code, out, errs)
	}
	server.Withdraw()
	out, errs, code = s.Run("test", "orders")
	if code != 1 || !strings.Contains(out, "invalid_grant") || !strings.Contains(out+errs, "poller oauth login orders") {
		t.Errorf("test once the consent was withdrawn: %d\n%s%s", code, out, errs)
	}
	discreet(t, server, "test", out+errs)
}

// TestALoginIsGivenUp: Ctrl-C ends it, in the daemon too.
func TestALoginIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon %v", running), func(t *testing.T) {
			t.Parallel()
			s, _, server, _ := tokenSite(t, mail.IMAP)
			gone := make(chan struct{})
			server.Take(func(_ http.ResponseWriter, r *http.Request) bool {
				<-r.Context().Done() // the question whether the person has consented is given up
				close(gone)
				return true
			})
			var p *rig.Daemon
			if running {
				p = s.Start().Ready()
			}
			cmd := exec.CommandContext(t.Context(), rig.Binary, "oauth", "login", "orders", "--config", s.Config)
			said := &rig.Log{}
			cmd.Stderr = said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			server.Await(t, 1)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			<-gone
			err := cmd.Wait()
			text, _ := said.From(0)
			if cmd.ProcessState.ExitCode() != 130 || !strings.Contains(text, "interrupted: given up") {
				t.Errorf("%v\n%s", err, text)
			}
			if running {
				if code := p.Stop(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			}
		})
	}
}
