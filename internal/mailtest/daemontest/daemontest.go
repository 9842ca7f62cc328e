// Package daemontest is a daemon whose answers a test chooses, for the tests of those
// who serve one and of those who ask one.
package daemontest

import (
	"context"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

// Fake answers as its fields say. A function that is nil answers with the zero
// value.
type Fake struct {
	State     api.Status
	Connected []api.ConnectionView
	Presented []api.CertificateView
	Granted   []api.GrantView
	Warnings  []string // of a reload
	OnHealth  func(ctx context.Context) error
	OnReady   func(ctx context.Context) error
	OnReload  func(ctx context.Context) error
	OnJobs    func(filter api.JobFilter) ([]mail.Result, error)
	OnPoll    func(ctx context.Context, name string, dryRun bool) (mail.Result, error)
	OnTest    func(ctx context.Context, name string) (mail.Test, error)
	OnRetry   func(name string) (int, error)
	OnForget  func(name string) (int, error)
	OnReview  func(verb, fingerprint, server string) (api.TrustView, error) // trust, revoke, remove
	OnLogin   func(ctx context.Context, name string) (api.GrantView, error)
}

// Daemon is the fake as a whole.
func (f *Fake) Daemon() api.Daemon { return api.Daemon{Lifecycle: f, Polling: f, Review: f, Logins: f} }

// Health implements api.Lifecycle.
func (f *Fake) Health(ctx context.Context) error { return check(ctx, f.OnHealth) }

// Ready implements api.Lifecycle.
func (f *Fake) Ready(ctx context.Context) error { return check(ctx, f.OnReady) }

// Reload implements api.Lifecycle.
func (f *Fake) Reload(ctx context.Context) ([]string, error) {
	return f.Warnings, check(ctx, f.OnReload)
}

func check(ctx context.Context, do func(context.Context) error) error {
	if do == nil {
		return nil
	}
	return do(ctx)
}

// Status implements api.Lifecycle.
func (f *Fake) Status(context.Context) (api.Status, error) { return f.State, nil }

// Connections implements api.Polling.
func (f *Fake) Connections(context.Context) ([]api.ConnectionView, error) { return f.Connected, nil }

// Jobs implements api.Polling.
func (f *Fake) Jobs(_ context.Context, filter api.JobFilter) ([]mail.Result, error) {
	if f.OnJobs == nil {
		return nil, nil
	}
	return f.OnJobs(filter)
}

// Poll implements api.Polling.
func (f *Fake) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	if f.OnPoll == nil {
		return mail.Result{}, nil
	}
	return f.OnPoll(ctx, name, dryRun)
}

// Test implements api.Polling.
func (f *Fake) Test(ctx context.Context, name string) (mail.Test, error) {
	if f.OnTest == nil {
		return mail.Test{}, nil
	}
	return f.OnTest(ctx, name)
}

// Retry implements api.Polling.
func (f *Fake) Retry(_ context.Context, name string) (int, error) { return count(name, f.OnRetry) }

// Forget implements api.Polling.
func (f *Fake) Forget(_ context.Context, name string) (int, error) { return count(name, f.OnForget) }

func count(name string, do func(string) (int, error)) (int, error) {
	if do == nil {
		return 0, nil
	}
	return do(name)
}

// Certificates implements api.Review.
func (f *Fake) Certificates(context.Context) ([]api.CertificateView, error) { return f.Presented, nil }

// Trust implements api.Review.
func (f *Fake) Trust(_ context.Context, fingerprint, server string) (api.TrustView, error) {
	return f.review("trust", fingerprint, server)
}

// Revoke implements api.Review.
func (f *Fake) Revoke(_ context.Context, fingerprint, server string) (api.TrustView, error) {
	return f.review("revoke", fingerprint, server)
}

// Remove implements api.Review.
func (f *Fake) Remove(_ context.Context, fingerprint, server string) (api.TrustView, error) {
	return f.review("remove", fingerprint, server)
}

func (f *Fake) review(verb, fingerprint, server string) (api.TrustView, error) {
	if f.OnReview == nil {
		return api.TrustView{}, nil
	}
	return f.OnReview(verb, fingerprint, server)
}

// Grants implements api.Logins.
func (f *Fake) Grants(context.Context) ([]api.GrantView, error) { return f.Granted, nil }

// Login implements api.Logins.
func (f *Fake) Login(ctx context.Context, name string) (api.GrantView, error) {
	if f.OnLogin == nil {
		return api.GrantView{}, nil
	}
	return f.OnLogin(ctx, name)
}
