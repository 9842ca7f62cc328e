package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// memory is a store of refresh tokens.
type memory struct {
	mu     sync.Mutex
	tokens map[string]mail.StoredToken
	kept   int
	err    error         // of KeepRefreshToken
	begun  chan struct{} // told of each KeepRefreshToken, which then waits for more; nil to do neither
	more   chan struct{}
}

func (m *memory) RefreshToken(_ context.Context, grant string) (mail.StoredToken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tokens[grant], nil
}

func (m *memory) KeepRefreshToken(_ context.Context, grant string, t mail.StoredToken) error {
	if m.begun != nil {
		m.begun <- struct{}{}
		<-m.more
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept++
	if m.err == nil {
		m.tokens[grant] = t
	}
	return m.err
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func newTokens(t *testing.T) (*Tokens, *memory) {
	t.Helper()
	store := &memory{tokens: make(map[string]mail.StoredToken)}
	return with(t, store), store
}

// with is what a start of the program makes of a store.
func with(t *testing.T, store TokenStore) *Tokens {
	t.Helper()
	tokens := NewTokens(NewSecrets(), store, zap.NewNop())
	t.Cleanup(tokens.Close)
	return tokens
}

func connection(name string, o *mail.OAuth2) *mail.Connection {
	return &mail.Connection{Name: name, Username: o.Account, OAuth2: o}
}

func token(t *testing.T, tokens *Tokens, c *mail.Connection) mail.Secret {
	t.Helper()
	got, err := tokens.Token(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return got.Access
}

func TestATokenIsHeldUntilItExpires(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, store := newTokens(t)
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	first := token(t, tokens, c)
	if again := token(t, tokens, c); again != first || len(server.Asked()) != 1 {
		t.Errorf("a token that is good was asked for again: %d requests", len(server.Asked()))
	}
	if store.kept != 0 {
		t.Error("a refresh token that did not change was stored")
	}
	// A token that would expire on its way is not given to the next poll.
	server.Live(onTheWay - time.Second)
	tokens.Refused(c, first)
	second := token(t, tokens, c)
	if third := token(t, tokens, c); first == second || second == third || len(server.Asked()) != 3 {
		t.Errorf("%d requests, want 3: each poll one, since the tokens had expired", len(server.Asked()))
	}
}

func TestAHundredConnectionsAskOnce(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	arrived, answer := make(chan struct{}), make(chan struct{})
	server.Take(func(http.ResponseWriter, *http.Request) bool {
		close(arrived)
		<-answer
		return false
	})
	refresh := server.Consent("u")
	var wait sync.WaitGroup
	got := make([]mail.Token, 100)
	errs := make([]error, len(got))
	impatient, leave := context.WithCancel(t.Context())
	for i := range got {
		ctx := t.Context()
		if i%10 == 0 {
			ctx = impatient
		}
		wait.Go(func() {
			got[i], errs[i] = tokens.Token(ctx, connection(fmt.Sprint(i), server.OAuth2("u", refresh)))
		})
	}
	<-arrived
	leave() // whoever began the request may be among those
	close(answer)
	wait.Wait()
	if n := len(server.Asked()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	for i, err := range errs {
		var e *mail.Error
		switch {
		case err == nil && got[i].Access.Reveal() == got[1].Access.Reveal():
		case i%10 == 0 && errors.As(err, &e) && e.Kind == mail.KindCanceled:
		default:
			t.Errorf("connection %d has %v", i, err)
		}
	}
}

func TestWhoeverLeavesDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	answer := make(chan struct{})
	server.Take(func(http.ResponseWriter, *http.Request) bool {
		<-answer
		return false
	})
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := tokens.Token(ctx, c)
		left <- err
	}()
	server.Await(t, 1)
	leave()
	var e *mail.Error
	if err := <-left; !errors.As(err, &e) || e.Kind != mail.KindCanceled {
		t.Errorf("who left has %v", err)
	}
	close(answer)
	if token(t, tokens, c); len(server.Asked()) != 1 {
		t.Errorf("%d requests, want the one that was begun for somebody who left", len(server.Asked()))
	}
}

// TestARotatedTokenIsStoredBeforeUse: while the new refresh token is on its way
// to the disk, nobody has the access token that came with it.
func TestARotatedTokenIsStoredBeforeUse(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	server.Rotate()
	store := &memory{tokens: make(map[string]mail.StoredToken), begun: make(chan struct{}), more: make(chan struct{})}
	tokens := with(t, store)
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	given := make(chan mail.Token, 1)
	go func() {
		got, err := tokens.Token(context.Background(), c)
		if err != nil {
			t.Error(err)
		}
		given <- got
	}()
	<-store.begun
	select {
	case <-given:
		t.Error("the access token was given away before the refresh token was stored")
	default:
	}
	// Killed here, the old token is what is left, which this server has
	// voided: the message has to say what to do.
	_, err := with(t, &memory{tokens: make(map[string]mail.StoredToken)}).Token(t.Context(), c)
	var e *mail.Error
	if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Hint, "poller oauth login a") {
		t.Errorf("after a kill ahead of the store: %v, %+v", err, e)
	}
	close(store.more)
	<-given
	// Killed here, the new one is there.
	store.begun = nil
	if next := with(t, store); token(t, next, c).IsZero() {
		t.Error("no token after a restart")
	}
	if last := server.Asked(); last[len(last)-1].Get("refresh_token") == last[0].Get("refresh_token") {
		t.Error("the configured token was used in place of the stored one")
	}
}

func TestARotatedTokenThatCannotBeStoredIsNotLost(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	server.Rotate()
	tokens, store := newTokens(t)
	store.fail(&mail.Error{Op: mail.OpRecord, Kind: mail.KindState, Err: errors.New("disk full")})
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	for range 2 {
		var e *mail.Error
		if _, err := tokens.Token(t.Context(), c); !errors.As(err, &e) || e.Kind != mail.KindState {
			t.Errorf("with a full disk: %v", err)
		}
	}
	if n := len(server.Asked()); n != 1 {
		t.Errorf("%d requests, want 1: the second would void the token that is not stored", n)
	}
	store.fail(nil)
	if token(t, tokens, c).IsZero() || store.kept != 4 { // the two above, the one again, and its successor
		t.Errorf("stored %d times", store.kept)
	}
}

func TestAConfiguredTokenThatChangesIsNewer(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	server.Rotate()
	tokens, _ := newTokens(t)
	first := connection("a", server.OAuth2("u", server.Consent("u")))
	tokens.Refused(first, token(t, tokens, first))
	server.Withdraw()
	changed := connection("a", server.OAuth2("u", server.Consent("u")))
	if changed.OAuth2.ID() != first.OAuth2.ID() {
		t.Fatal("another refresh token makes another grant")
	}
	if token(t, tokens, changed).IsZero() {
		t.Error("no token")
	}
	// And without one in the configuration, what is stored goes on.
	gone := connection("a", server.OAuth2("u", ""))
	if token(t, with(t, tokens.Store), gone).IsZero() {
		t.Error("no token once the configured one is gone")
	}
}

func TestATokenIsReplacedAheadOfItsEnd(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	first := token(t, tokens, c)
	// As time would: nine tenths of its life are over.
	g := tokens.grant(c.OAuth2)
	g.mu.Lock()
	g.renew = time.Now().Add(-time.Second)
	g.mu.Unlock()
	if meanwhile := token(t, tokens, c); meanwhile != first {
		t.Error("a poll waited for a token that it did not need yet")
	}
	server.Await(t, 2)
	tokens.flying.Wait()
	if next := token(t, tokens, c); next == first {
		t.Error("the token was not replaced")
	}
	// An endpoint that is down ahead of the end is no failure, and is left
	// alone for a while.
	server.Take(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "down", http.StatusBadGateway)
		return true
	})
	g.mu.Lock()
	g.renew = time.Now().Add(-time.Second)
	g.mu.Unlock()
	for range 5 {
		token(t, tokens, c)
		tokens.flying.Wait()
	}
	if n := len(server.Asked()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	if state, err := tokens.State(t.Context(), c); err != nil || state.Err == nil || state.Expires.IsZero() {
		t.Errorf("the state is %+v, %v", state, err)
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, store := newTokens(t)
	server.Rotate()
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	first := token(t, tokens, c)
	tokens.Refused(c, first)
	second := token(t, tokens, c)
	tokens.Refused(c, first) // somebody else, late
	if third := token(t, tokens, c); first == second || third != second {
		t.Error("a refusal of an old token dropped the new one")
	}
	if kept, _ := store.RefreshToken(t.Context(), c.OAuth2.ID()); kept.Refresh.IsZero() {
		t.Error("the refresh token was dropped with the access token")
	}
}

func TestWhatIsOnItsWayAtTheEndIsKept(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	server.Rotate()
	answer := make(chan struct{})
	server.Take(func(http.ResponseWriter, *http.Request) bool {
		<-answer
		return false
	})
	tokens, store := newTokens(t)
	c := connection("a", server.OAuth2("u", server.Consent("u")))
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		_, _ = tokens.Token(ctx, c) // cut off
		close(left)
	}()
	server.Await(t, 1)
	leave()
	<-left
	closed := make(chan struct{})
	go func() {
		tokens.Close()
		close(closed)
	}()
	close(answer)
	<-closed
	if store.kept != 1 {
		t.Errorf("stored %d times, want the token that was on its way", store.kept)
	}
	var e *mail.Error
	if _, err := tokens.Token(t.Context(), connection("b", server.OAuth2("b", "b"))); !errors.As(err, &e) || e.Kind != mail.KindCanceled {
		t.Errorf("after the end: %v", err)
	}
}

// TestTheEndDoesNotWaitForEver: not even for an endpoint that may take an hour.
func TestTheEndDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	gone := make(chan struct{})
	server.Take(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		close(gone)
		return true
	})
	tokens, _ := newTokens(t)
	o := server.OAuth2("u", server.Consent("u"))
	o.Timeout = time.Hour
	ended := make(chan error, 1)
	go func() {
		_, err := tokens.Token(context.Background(), connection("a", o))
		ended <- err
	}()
	server.Await(t, 1)
	tokens.Close()
	<-gone
	var e *mail.Error
	if err := <-ended; !errors.As(err, &e) || e.Kind != mail.KindCanceled {
		t.Errorf("cut off: %v", err)
	}
}

func TestAnUnusedGrantIsForgotten(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	a, b := connection("a", server.OAuth2("a", server.Consent("a"))), connection("b", server.OAuth2("b", server.Consent("b")))
	first := token(t, tokens, a)
	token(t, tokens, b)
	tokens.Only(map[string][]string{a.OAuth2.ID(): {"a"}})
	if token(t, tokens, a) != first || !tokens.Expires(b).IsZero() || tokens.Expires(a).IsZero() {
		t.Error("the wrong one was forgotten")
	}
}
