package prometheus_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// question is an expression, and where it stands.
type question struct{ where, expr string }

// dashboard is every query of every panel.
func dashboard(t *testing.T) []question {
	t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/poller.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID          int
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	// As Grafana fills them in.
	variables := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$connection", ".*")
	var all []question
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, question{"panel " + p.Title, variables.Replace(target.Expr)})
		}
	}
	return all
}

// documented is every expression of a table of docs/metrics.md.
func documented(t *testing.T) []question {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## What to ask\n")
	if !ok {
		t.Fatal("docs/metrics.md does not say what to ask")
	}
	var all []question
	for _, m := range regexp.MustCompile("(?m)^\\| ([^|]*\\?) \\| `([^`]*)`").FindAllStringSubmatch(table, -1) {
		all = append(all, question{m[1], m[2]})
	}
	if len(all) < 10 {
		t.Fatalf("docs/metrics.md has %d questions", len(all))
	}
	return all
}

// troubled is a daemon with something for each panel to show: a mailbox that
// works, has a message that is too large, and whose command fails, one with a message
// that is in quarantine, a server that is down, a folder that is gone, a key and a certificate of a server that expire soon, and a
// reload that was refused. A token has run out, and no other is to be had once
// the grant is withdrawn.
func troubled(t *testing.T, perConnection string) (d *rig.Daemon, withdraw func()) {
	t.Helper()
	imap := mailtest.NewIMAP(t)
	user := imap.NewUser(t)
	imap.Deliver(t, user, rig.Numbered(5)...)
	imap.Deliver(t, user, []byte("Subject: large\r\n\r\n"+strings.Repeat("x", 5000)+"\r\n"))
	c := imap.Connection(t, user, mail.SSLTLS)
	works := rig.Settings{
		"name": "works", "host": c.Host, "port": c.Port, "username": user, "password": imap.Password, "store_type": "IMAP",
		"connection_security": "SSL_TLS", "ca_file": imap.CA.PEMFile(t), "schedule": "@every 1s", "disposition": "DELETE",
		"max_message_size": 4000, "client_key_label": "soon", "notify": rig.Settings{"command": []string{"/bin/false"}},
	}
	down := mailtest.Script(t, func(c *mailtest.Conn) { c.Cut() })
	refuses := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send("+OK\r\n")
		c.Answer(
			mailtest.Rule{Line: "^UIDL$", Reply: "+OK\r\n1 1\r\n2 2\r\n.\r\n"}, mailtest.Rule{Line: "^LIST$", Reply: "+OK\r\n1 20\r\n2 20\r\n.\r\n"},
			mailtest.Rule{Line: "^LIST 1$", Reply: "+OK 1 20\r\n"}, mailtest.Rule{Line: "^LIST 2$", Reply: "+OK 2 20\r\n"},
			mailtest.Rule{Line: "^UIDL 1$", Reply: "+OK 1 1\r\n"}, mailtest.Rule{Line: "^UIDL 2$", Reply: "+OK 2 2\r\n"},
			mailtest.Rule{Line: "^STAT$", Reply: "+OK 2 40\r\n"}, mailtest.Rule{Line: "^(RETR|TOP) 2", Reply: "-ERR no\r\n"},
			mailtest.Rule{Line: "^(RETR|TOP) 1", Reply: "+OK\r\nSubject: fine\r\n\r\n\r\n.\r\n"}, mailtest.Rule{Line: "^CAPA$", Reply: "-ERR\r\n"},
			mailtest.Rule{Line: "", Reply: "+OK\r\n"},
		)
	})
	provider := mailtest.StartAuthServer(t)
	provider.Live(time.Second)
	s := rig.New(t)
	s.Keys = []rig.Settings{soon(t, imap.CA)}
	gone := s.Mkdir("gone")
	s.Configure(works,
		rig.Settings{"name": "down", "host": mailtest.Host, "port": down.Port, "username": "u", "password": "p", "connection_security": "NONE", "schedule": "@every 1s"},
		rig.Settings{"name": "refuses", "host": mailtest.Host, "port": refuses.Port, "store_type": "POP3", "username": "u", "password": "p", "connection_security": "NONE", "schedule": "@every 1s", "max_messages": 0, "back_off": "DISABLED"},
		works.With(rig.Settings{"name": "folderless", "folder": gone, "back_off": "DISABLED"}),
		rig.Settings{
			"name": "token", "host": c.Host, "port": c.Port, "username": "u", "ca_file": works["ca_file"], "match_server_hostname": "ENABLED",
			"schedule": "@every 1s", "back_off": "DISABLED", "oauth2": rig.Settings{
				"provider": "custom", "client_id": "poller", "client_secret": "the secret of the client",
				"token_url": provider.URL + "/token", "refresh_token": provider.Consent("u"),
			},
		})
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	set(t, s, "metrics_per_connection", perConnection)
	d = s.Start().Ready()
	provider.Await(t, 1)
	for _, event := range []string{`"msg":"connection keeps failing.*"connection":"down"`, `"msg":"poll finished".*"connection":"works"`, `"msg":"poll failed".*"connection":"folderless"`, `"msg":"message quarantined.*"connection":"refuses"`} {
		d.Await(0, event)
	}
	s.Write("not a configuration")
	d.Signal(syscall.SIGHUP)
	d.Await(0, `"msg":"configuration not reloaded`)
	return d, provider.Withdraw
}

// set changes a key of the top level.
func set(t *testing.T, s *rig.Site, key string, value any) {
	t.Helper()
	text, err := os.ReadFile(s.Config)
	config := make(map[string]any)
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	config[key] = value
	s.Write(config)
}

// soon is a client certificate that expires within days.
func soon(t *testing.T, ca *mailtest.CA) rig.Settings {
	t.Helper()
	certificate, key := mailtest.KeyFiles(t, ca.Issue(t, &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().AddDate(0, 0, 3),
	}))
	return rig.Settings{"label": "soon", "certificate": certificate, "private_key": key}
}

// scrape is the example configuration, for this daemon and in a hurry.
func scrape(t *testing.T, d *rig.Daemon) string {
	t.Helper()
	text, err := os.ReadFile(deploy + "/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for _, r := range [][2]string{
		{"- poller.rules.yml", "- " + path},
		{"scrape_interval: 30s", "scrape_interval: 500ms"},
		{"127.0.0.1:9469", strings.TrimPrefix(d.Listen, "http://")},
	} {
		if !strings.Contains(config, r[0]) {
			t.Fatalf("prometheus.yml does not say %q", r[0])
		}
		config = strings.ReplaceAll(config, r[0], r[1])
	}
	return "global: {evaluation_interval: 500ms}\n" + config
}

func TestARealPrometheusAnswersEveryQuestion(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	for _, perConnection := range []string{"ENABLED", "DISABLED"} {
		t.Run(perConnection, func(t *testing.T) {
			t.Parallel()
			d, withdraw := troubled(t, perConnection)
			askEverything(t, d, withdraw)
		})
	}
}

func askEverything(t *testing.T, d *rig.Daemon, withdraw func()) {
	p := start(t, scrape(t, d))
	p.await(t, `poller_oauth_refreshes_total{result="ok"} > 0`)
	withdraw()

	// What is well has nothing to show, and what takes a day has not happened.
	silent := map[string]bool{
		"alert PollerDown": true, "alert PollerNothingPolled": true, "alert PollerConnectionStale": true,
		"alert PollerScheduleLag": true, "alert PollerStateNotWritable": true,
		"alert PollerFault":                            true,
		"Which have had no successful poll for a day?": true, "Are polls longer than their interval?": true, "Are `limits` too low?": true,
	}
	all := append(dashboard(t), documented(t)...)
	for _, a := range alerts(t) {
		all = append(all, question{"alert " + a.Alert, a.Expr})
	}
	known := series(d)
	for _, q := range all {
		for _, name := range regexp.MustCompile(`\bpoller_\w+`).FindAllString(q.expr, -1) {
			if !known[name] {
				t.Errorf("%s: there is no %s", q.where, name)
			}
		}
		if !silent[q.where] {
			p.await(t, q.expr)
		} else if n, err := p.query(t, q.expr); err != nil || n != 0 {
			t.Errorf("%s: %d series, %v", q.where, n, err)
		}
		delete(silent, q.where)
	}
	for where := range silent {
		t.Errorf("%q is not asked anywhere", where)
	}
	for _, name := range []string{"PollerConnectionBackingOff", "PollerFolderNotWritable", "PollerKeyExpires", "PollerReloadFailed"} {
		p.await(t, fmt.Sprintf(`ALERTS{alertname=%q, alertstate="pending"}`, name))
	}
}

// series are the names in a scrape.
func series(d *rig.Daemon) map[string]bool {
	text, _ := d.Get("/metrics")
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^(\w+)`).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	return names
}

func TestAScrapeFollowsTheRules(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	d, _ := troubled(t, "ENABLED")
	text, _ := d.Get("/metrics")
	promtool(t, text, "check", "metrics")
}

func TestSeriesFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	down := mailtest.Script(t, func(c *mailtest.Conn) { c.Cut() })
	connection := func(name string) rig.Settings {
		return rig.Settings{
			"name": name, "host": mailtest.Host, "port": down.Port, "username": "u", "password": "p", "connection_security": "NONE",
			"schedule": "@every 24h",
		}
	}
	a, b := connection("a"), connection("b")
	s := rig.New(t, a, b)
	d := s.Start().Ready()
	s.Run("poll", "a")
	s.Run("poll", "b")
	for _, c := range []struct {
		name        string
		a, b, total int // jobs that failed; -1 is no series
		change      func()
	}{
		{"started", 1, 1, -1, nil},
		{"counted together", -1, -1, 2, func() { set(t, s, "metrics_per_connection", "DISABLED") }},
		{"one removed", -1, -1, 2, func() { s.Configure(a); set(t, s, "metrics_per_connection", "DISABLED") }},
		{"on their own again", 1, -1, -1, func() { s.Configure(a) }},
		{"disabled", -1, 0, -1, func() { s.Configure(a.With(rig.Settings{"status": "DISABLED"}), b) }},
	} {
		if c.change != nil {
			mark := d.Mark()
			c.change()
			d.Signal(syscall.SIGHUP)
			d.Await(mark, `"msg":"configuration reloaded"`)
		}
		text, _ := d.Get("/metrics")
		for name, want := range map[string]int{"a": c.a, "b": c.b, "": c.total} {
			line := fmt.Sprintf("poller_jobs_total{connection=%q,outcome=\"failed\"} ", name)
			if want < 0 && strings.Contains(text, fmt.Sprintf("{connection=%q", name)) || want >= 0 && !strings.Contains(text, line+fmt.Sprint(want)+"\n") {
				t.Errorf("%s: %q does not have %d failed jobs", c.name, name, want)
			}
		}
	}
}
