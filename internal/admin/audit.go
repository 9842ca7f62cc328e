package admin

import (
	"cmp"
	"context"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

// Audit is d with an audit log: one line for each change, once it is made or has
// failed, with who asked for it. What only looks, or tries, leaves none.
func Audit(d api.Daemon, log *zap.Logger) api.Daemon {
	a := audit{log}
	return api.Daemon{
		Lifecycle: auditedLifecycle{d.Lifecycle, a},
		Polling:   auditedPolling{d.Polling, a},
		Review:    auditedReview{d.Review, a},
		Logins:    auditedLogins{d.Logins, a},
	}
}

type audit struct{ log *zap.Logger }

// record writes the line of a change.
func (a audit) record(ctx context.Context, level zapcore.Level, what string, err error, fields ...zap.Field) {
	who := api.IdentityOf(ctx)
	line := append([]zap.Field{
		zap.String("who", who.Name), zap.String("role", string(who.Role)), zap.String("what", what),
	}, fields...)
	if err == nil {
		line = append(line, zap.String("outcome", "done"))
	} else {
		line = append(line, zap.String("outcome", "failed"), zap.String("error", cut(err.Error())))
	}
	a.log.Log(level, "audit", line...)
}

// maxReason bounds what a line tells of an error, in bytes: a file may have a
// thousand problems, which the line of the reload itself holds.
const maxReason = 1 << 10

func cut(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + " ..."
}

type auditedLifecycle struct {
	api.Lifecycle
	audit audit
}

func (l auditedLifecycle) Reload(ctx context.Context) ([]string, error) {
	warnings, err := l.Lifecycle.Reload(ctx)
	l.audit.record(ctx, zap.InfoLevel, "reload", err)
	return warnings, err
}

type auditedPolling struct {
	api.Polling
	audit audit
}

func (p auditedPolling) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	result, err := p.Polling.Poll(ctx, name, dryRun)
	if dryRun {
		return result, err // it changes nothing
	}
	failed := err
	if failed == nil && result.Err != nil {
		failed = result.Err
	}
	fields := []zap.Field{zap.String("connection", name)}
	if result.Job != "" {
		fields = append(fields, zap.String("job", result.Job))
	}
	p.audit.record(ctx, zap.InfoLevel, "poll", failed, fields...)
	return result, err
}

func (p auditedPolling) Retry(ctx context.Context, name string) (int, error) {
	n, err := p.Polling.Retry(ctx, name)
	p.audit.record(ctx, zap.InfoLevel, "retry", err, zap.String("connection", name), zap.Int("messages", n))
	return n, err
}

func (p auditedPolling) Forget(ctx context.Context, name string) (int, error) {
	n, err := p.Polling.Forget(ctx, name)
	p.audit.record(ctx, zap.InfoLevel, "forget", err, zap.String("connection", name), zap.Int("messages", n))
	return n, err
}

// auditedReview logs at the level of a warning: it decides which servers get the
// passwords.
type auditedReview struct {
	api.Review
	audit audit
}

func (r auditedReview) Trust(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	v, err := r.Review.Trust(ctx, fingerprint, server)
	return r.record(ctx, "trust", fingerprint, server, v, err)
}

func (r auditedReview) Revoke(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	v, err := r.Review.Revoke(ctx, fingerprint, server)
	return r.record(ctx, "revoke", fingerprint, server, v, err)
}

func (r auditedReview) Remove(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	v, err := r.Review.Remove(ctx, fingerprint, server)
	return r.record(ctx, "remove", fingerprint, server, v, err)
}

// record writes the line of a decision: about the certificate that was meant, or
// where there is none, in the words of who asked.
func (r auditedReview) record(ctx context.Context, what, fingerprint, server string, v api.TrustView, err error) (api.TrustView, error) {
	fields := []zap.Field{
		zap.String("fingerprint", cmp.Or(v.Fingerprint, fingerprint)), zap.String("server", cmp.Or(v.Server, server)),
	}
	if v.Subject != "" {
		fields = append(fields, zap.String("subject", v.Subject))
	}
	r.audit.record(ctx, zap.WarnLevel, what, err, fields...)
	return v, err
}

type auditedLogins struct {
	api.Logins
	audit audit
}

func (l auditedLogins) Login(ctx context.Context, name string) (api.GrantView, error) {
	v, err := l.Logins.Login(ctx, name)
	l.audit.record(ctx, zap.InfoLevel, "login", err, zap.String("connection", name))
	return v, err
}
