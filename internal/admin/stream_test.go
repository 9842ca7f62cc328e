package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestTheStreamOfAPoll(t *testing.T) {
	t.Parallel()
	_, path := control(t, &daemontest.Fake{OnPoll: func(ctx context.Context, _ string, _ bool) (mail.Result, error) {
		trace := mail.TraceOf(ctx)
		trace.Step(mail.Step{Name: mail.OpConnect, Detail: "192.0.2.1"})
		trace.Progress(mail.Ref{UID: 7}, 5, 10)
		trace.Progress(mail.Ref{UID: 7}, 6, 10) // too soon to be of interest
		trace.Progress(mail.Ref{UID: 7}, 10, 10)
		trace.Saved(mail.Ref{UID: 7}, "/in/7.eml", 10)
		return mail.Result{}, errors.New("stopping")
	}})
	conn := dial(t, path)
	send(t, conn, "POST /api/v1/poll?connection=a HTTP/1.0\r\nHost: localhost\r\n\r\n")
	reply, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(reply), "\r\n\r\n")
	want := []string{
		`{"step":{"name":"connect","ok":true,"duration_seconds":0,"detail":"192.0.2.1"}}`,
		`{"progress":{"uid":7,"done":5,"size":10}}`,
		`{"progress":{"uid":7,"done":10,"size":10}}`,
		`{"saved":{"uid":7,"path":"/in/7.eml","bytes":10}}`,
		`{"problem":{"error":{"message":"stopping"}}}`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(body, "\n"), "\n")); diff != "" {
		t.Errorf("the stream (-want +got):\n%s", diff)
	}
}

func TestAClientThatDoesNotReadNeverHoldsUpAPoll(t *testing.T) {
	t.Parallel()
	polled := make(chan struct{})
	_, path := control(t, &daemontest.Fake{OnPoll: func(ctx context.Context, _ string, _ bool) (mail.Result, error) {
		defer close(polled)
		for range 100_000 { // far more than queue and socket hold
			mail.TraceOf(ctx).Saved(mail.Ref{UID: 1}, strings.Repeat("x", 100), 1)
		}
		return mail.Result{Connection: "a", State: mail.Succeeded}, nil
	}})
	conn := dial(t, path)
	send(t, conn, "POST /api/v1/poll?connection=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-polled

	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var last map[string]json.RawMessage
	for lines := json.NewDecoder(response.Body); lines.More(); {
		last = nil
		if err := lines.Decode(&last); err != nil {
			t.Fatal(err)
		}
	}
	if last["result"] == nil {
		t.Errorf("the last line is %v, want the result", last)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}
