package admin_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"mailpoller/internal/admin"
	"mailpoller/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a daemon whose answers a test chooses. A function that is nil
// answers with the zero value.
type fake struct {
	health, ready, reload func(context.Context) error
	warnings              []string // of a reload
	status                admin.Status
	connections           []admin.ConnectionView
	jobs                  func(admin.JobFilter) ([]mail.Result, error)
	poll                  func(ctx context.Context, name string, dryRun bool) (mail.Result, error)
	retry, forget         func(name string) (int, error)
	test                  func(ctx context.Context, name string) (mail.Test, error)
	certificates          []admin.CertificateView
	judge                 func(verb, fingerprint, server string) (admin.TrustView, error)
	grants                []admin.GrantView
	login                 func(ctx context.Context, name string) (admin.GrantView, error)
}

func (f *fake) Health(ctx context.Context) error { return run(ctx, f.health) }
func (f *fake) Ready(ctx context.Context) error  { return run(ctx, f.ready) }

func (f *fake) Reload(ctx context.Context) ([]string, error) { return f.warnings, run(ctx, f.reload) }

func (f *fake) Grants(context.Context) ([]admin.GrantView, error) { return f.grants, nil }

func (f *fake) Login(ctx context.Context, name string) (admin.GrantView, error) {
	if f.login == nil {
		return admin.GrantView{}, nil
	}
	return f.login(ctx, name)
}

func run(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func (f *fake) Status(context.Context) (admin.Status, error) { return f.status, nil }

func (f *fake) Connections(context.Context) ([]admin.ConnectionView, error) {
	return f.connections, nil
}

func (f *fake) Jobs(_ context.Context, filter admin.JobFilter) ([]mail.Result, error) {
	if f.jobs == nil {
		return nil, nil
	}
	return f.jobs(filter)
}

func (f *fake) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	if f.poll == nil {
		return mail.Result{}, nil
	}
	return f.poll(ctx, name, dryRun)
}

func (f *fake) Test(ctx context.Context, name string) (mail.Test, error) {
	if f.test == nil {
		return mail.Test{}, nil
	}
	return f.test(ctx, name)
}

func (f *fake) Certificates(context.Context) ([]admin.CertificateView, error) {
	return f.certificates, nil
}

func (f *fake) Trust(_ context.Context, fingerprint, server string) (admin.TrustView, error) {
	return f.judged("trust", fingerprint, server)
}

func (f *fake) Revoke(_ context.Context, fingerprint, server string) (admin.TrustView, error) {
	return f.judged("revoke", fingerprint, server)
}

func (f *fake) Remove(_ context.Context, fingerprint, server string) (admin.TrustView, error) {
	return f.judged("remove", fingerprint, server)
}

func (f *fake) judged(verb, fingerprint, server string) (admin.TrustView, error) {
	if f.judge == nil {
		return admin.TrustView{}, nil
	}
	return f.judge(verb, fingerprint, server)
}

func (f *fake) Retry(_ context.Context, name string) (int, error) { return number(name, f.retry) }

func (f *fake) Forget(_ context.Context, name string) (int, error) { return number(name, f.forget) }

func number(name string, f func(string) (int, error)) (int, error) {
	if f == nil {
		return 0, nil
	}
	return f(name)
}

func metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("poller_build_info 1\n"))
	})
}

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "poller.sock")
}

// control serves d on a control socket until the test ends.
func control(t *testing.T, d admin.Daemon) (client *admin.Client, path string) {
	t.Helper()
	path = socketPath(t)
	ln, err := admin.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, admin.Handler(d, metrics(), admin.Control, nil))
	return admin.NewClient(path), path
}

// serve runs Serve until stop is called, at the latest when the test ends.
func serve(t *testing.T, ln net.Listener, h http.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(ctx, ln, h); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}
