package api_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/api"
	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

func failedResult() mail.Result {
	err := mail.Errorf(mail.OpAuthenticate, mail.KindAuth, "the server said: NO invalid credentials")
	err.Hint = "check username and password"
	return mail.Result{
		Job: "01J", Connection: "a/b", State: mail.Failed, Outcome: mail.OutcomeFailed,
		Started:  time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("CET", 3600)),
		Duration: 1500*time.Millisecond + 7, Attempts: 4, Failures: 1, Quarantined: 2,
		Warnings: []string{"no UIDPLUS"}, Err: err,
	}
}

func savedResult() mail.Result {
	return mail.Result{
		Job: "01K", Connection: "invoices", State: mail.Succeeded, Outcome: mail.OutcomeSaved,
		Started: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Duration: 90 * time.Second, Attempts: 1,
		Messages: 2, Bytes: 1 << 33, Files: []string{"/in/a.eml", "/in/b <&>.eml"}, Disposed: 2,
	}
}

func TestJSONIsWhatOtherProgramsRelyOn(t *testing.T) {
	t.Parallel()
	failed := api.View(failedResult())
	at := time.Date(2026, 2, 3, 4, 5, 0, 0, time.UTC)
	none, _ := api.ViewUnsaved(nil)
	quarantined, oversized := api.ViewUnsaved([]mail.Unsaved{
		{Ref: mail.Ref{UID: 7, Size: 12}, Jobs: 3, Reason: "cut short", From: "Ann <ann@example.com>", Subject: "Rechnung März", Date: at},
		{Ref: mail.Ref{UID: 8}, Jobs: 2, Reason: "not yet quarantined"},
		{Ref: mail.Ref{UIDL: "x.y", Size: 1 << 30}, Oversized: true, Reason: "too large"},
		{Ref: mail.Ref{UID: 9}, Unwanted: true, Reason: "message has no attachments"},
		{Ref: mail.Ref{UID: 10}, Interrupted: true, Reason: "cut off"},
	})
	for _, row := range []struct {
		golden string
		value  any
	}{
		{"poll-failed.json", failed},
		{"poll-saved.json", api.View(savedResult())},
		{"poll-pending.json", api.View(mail.Result{Job: "01L", Connection: "c", State: mail.Pending})},
		{"connection-idle.json", api.ConnectionView{Name: "c", Enabled: true, State: api.Idle, Quarantined: none, Oversized: none}},
		{"connection-backing-off.json", api.ConnectionView{
			Name: "a/b", Enabled: true, State: api.Retrying, Last: &failed, Next: at, BackingOffUntil: at.Add(time.Hour),
			FailuresInRow: 4, Skipped: 1,
			Quarantined: quarantined, Oversized: oversized,
		}},
		{"status.json", api.Status{
			Version: "v1", Commit: "abc", Go: "go1.26", Started: at, Config: "/etc/poller/poller.yaml", Loaded: at,
			ReloadError: "/etc/poller/poller.yaml:3:5: unknown key",
		}},
		{"test.json", api.ViewTest(mail.Test{Connection: "a/b", Steps: []mail.Step{
			{Name: mail.OpResolve, Duration: time.Millisecond, Detail: "192.0.2.1"},
			{Name: mail.OpConnect, Err: &mail.Error{Op: mail.OpConnect, Kind: mail.KindNetwork, Err: errors.New("refused"), Hint: "check port:"}},
		}})},
		{"certificate.json", api.ViewCertificate(mail.Refused{
			Server: mail.Server{Host: "imap.example.com", Port: 993},
			Chain: []certificate.Certificate{
				certificate.Of(&x509.Certificate{PublicKeyAlgorithm: x509.ECDSA, Subject: pkix.Name{CommonName: "imap.example.com"}, Issuer: pkix.Name{CommonName: "CA"}, DNSNames: []string{"imap.example.com"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, NotBefore: at, NotAfter: at.Add(time.Hour)}),
				certificate.Of(&x509.Certificate{PublicKeyAlgorithm: x509.RSA, Subject: pkix.Name{CommonName: "CA"}, Issuer: pkix.Name{CommonName: "root"}, IsCA: true, NotBefore: at, NotAfter: at.Add(time.Hour)}),
				certificate.Read([]byte("no certificate")),
			},
			Connection: "invoices", Reason: "unknown authority", First: at, Last: at.Add(time.Minute), Times: 2, Trusted: []bool{false, true, false},
		})},
		{"step.json", []api.StepView{
			api.ViewStep(mail.Step{Name: mail.OpTLS, Duration: 12 * time.Millisecond, Detail: "TLS 1.3"}),
			api.ViewStep(mail.Step{Name: mail.OpConnect, Err: errors.New("refused")}),
		}},
	} {
		t.Run(row.golden, func(t *testing.T) {
			t.Parallel()
			got, err := json.MarshalIndent(row.value, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, row.golden, append(got, '\n'))
		})
	}
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestAResultSurvivesItsView(t *testing.T) {
	t.Parallel()
	for _, want := range []mail.Result{failedResult(), savedResult(), {State: mail.Running, DryRun: true}} {
		text, err := json.Marshal(api.View(want))
		if err != nil {
			t.Fatal(err)
		}
		var view api.PollView
		if err := json.Unmarshal(text, &view); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, api.Result(view), sameResult()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// sameResult takes an error for its text and hint, and no list for an empty one.
func sameResult() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b *mail.Error) bool {
			if a == nil || b == nil {
				return a == b
			}
			return a.Op == b.Op && a.Kind == b.Kind && a.Hint == b.Hint && a.Error() == b.Error()
		}),
		cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
	}
}
