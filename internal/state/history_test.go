package state

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// historySuite is the behaviour of the job history.
func historySuite(run func(name string, test func(f *fixture))) {
	now := time.Now().UTC()
	names := func(f *fixture, filter JobFilter) (names []string) {
		f.t.Helper()
		jobs := durable(f, func() ([]mail.Result, error) { return f.Jobs(f.t.Context(), filter) })
		for _, j := range jobs {
			names = append(names, j.Job)
		}
		return names
	}

	run("history/a job is as it was recorded", func(f *fixture) {
		failed := mail.Result{
			Job: "j1", Connection: "it's", State: mail.Failed, Outcome: mail.OutcomeFailed,
			Started: now.Round(0), Duration: 1234567 * time.Microsecond, Attempts: 3,
			Messages: 2, Bytes: 1 << 40, Files: []string{"/srv/in/a.eml", "/srv/in/ü <&>.eml"},
			Disposed: 1, Failures: 4, Quarantined: 5, Warnings: []string{"no UIDPLUS"},
			Err: &mail.Error{Op: mail.OpTLS, Kind: mail.KindTLS, Err: errors.New("certificate \"x\" is not trusted"), Hint: "trust it"},
		}
		f.ok(f.RecordJob(f.t.Context(), failed))
		f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: "j2", Started: now.Round(0)}))
		jobs := durable(f, func() ([]mail.Result, error) { return f.Jobs(f.t.Context(), JobFilter{}) })
		f.want(jobs, []mail.Result{{Job: "j2", Started: now.Round(0)}, failed})
	})
	run("history/is listed from the newest on, by connection and state", func(f *fixture) {
		for i, j := range []struct {
			connection string
			state      mail.State
		}{{"a", mail.Failed}, {"b", mail.Failed}, {"a", mail.Succeeded}, {"b", mail.Succeeded}} {
			f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: fmt.Sprint(i), Connection: j.connection, State: j.state, Started: now}))
		}
		for _, row := range []struct {
			filter JobFilter
			want   string
		}{
			{JobFilter{}, "3 2 1 0"},
			{JobFilter{Limit: 2}, "3 2"},
			{JobFilter{Connection: "a"}, "2 0"},
			{JobFilter{State: mail.Failed}, "1 0"},
			{JobFilter{Connection: "b", State: mail.Failed}, "1"},
			{JobFilter{Connection: "b", Limit: 1}, "3"},
			{JobFilter{Connection: "c"}, ""},
		} {
			f.want(strings.Join(names(f, row.filter), " "), row.want)
		}
	})
	run("history/keeps the newest hundred jobs of a connection", func(f *fixture) {
		f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: "quiet", Connection: "quiet", Started: now}))
		for i := range jobsPerConnection + 5 {
			f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: fmt.Sprint(i), Connection: "busy", Started: now}))
		}
		busy := names(f, JobFilter{Connection: "busy", Limit: 1000})
		f.want(len(busy), jobsPerConnection)
		f.want(busy[len(busy)-1], "5")
		f.want(len(names(f, JobFilter{})), jobsListed)
		f.want(names(f, JobFilter{Connection: "quiet"}), []string{"quiet"})
	})
	run("history/drops jobs after ninety days", func(f *fixture) {
		f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: "old", Started: now.Add(-jobsFor - time.Hour)}))
		f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: "older", Started: now.Add(-jobsFor + time.Hour)}))
		f.want(names(f, JobFilter{}), []string{"older"})
	})
	run("history/bounds what a job can hold", func(f *fixture) {
		f.ok(f.RecordJob(f.t.Context(), mail.Result{
			Started: now, Messages: 5000, Files: make([]string, 5000), Warnings: make([]string, 5000),
			Err: mail.Errorf(mail.OpFetch, mail.KindProtocol, "%s", strings.Repeat("x", 1<<20)),
		}))
		jobs := durable(f, func() ([]mail.Result, error) { return f.Jobs(f.t.Context(), JobFilter{}) })
		f.want([]int{jobs[0].Messages, len(jobs[0].Files), len(jobs[0].Warnings), len(jobs[0].Err.Err.Error())},
			[]int{5000, listLength, listLength, textLength})
	})
	run("history/outlives what is forgotten of a connection", func(f *fixture) {
		f.ok(f.RecordJob(f.t.Context(), mail.Result{Job: "j", Connection: "c", Started: now}))
		_, err := f.Forget(f.t.Context(), "c")
		f.ok(err)
		f.want(names(f, JobFilter{}), []string{"j"})
	})
}
