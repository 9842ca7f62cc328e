package login

import (
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"mailpoller/internal/mail"
)

// TestWhatAServerIsLoggedInToWith is a table of what servers offer.
func TestWhatAServerIsLoggedInToWith(t *testing.T) {
	t.Parallel()
	all := []Way{External, OAuthBearer, XOAuth2, ScramPlus, Scram, CramMD5, APOP, LoginCommand, UserPass, Plain, Login}
	secret := mail.SecretSource{Literal: mail.NewSecret("secret")}
	withKey := func(c *mail.Connection) { c.Key, c.Password = &mail.ClientKey{}, mail.SecretSource{} }
	withToken := func(c *mail.Connection) { c.OAuth2 = &mail.OAuth2{} }
	for _, row := range []struct {
		auth    mail.AuthMethod
		set     func(*mail.Connection)
		offered []Way
		binding bool
		want    Way // empty: none
	}{
		{"AUTO", nil, all, true, ScramPlus},
		{"AUTO", nil, all, false, Scram},
		{"AUTO", nil, []Way{Plain, Login, CramMD5, LoginCommand}, true, CramMD5},
		{"AUTO", nil, []Way{APOP, UserPass, Plain}, false, APOP},
		{"AUTO", nil, []Way{Plain, Login, LoginCommand}, true, LoginCommand},
		{"AUTO", nil, []Way{Plain, Login, UserPass}, true, UserPass},
		{"AUTO", nil, []Way{Login, Plain}, true, Plain},
		{"AUTO", nil, []Way{Login}, true, Login},
		{"AUTO", nil, []Way{XOAuth2, OAuthBearer, External, ScramPlus}, false, ""},
		{"AUTO", nil, nil, true, ""},
		{"AUTO", func(c *mail.Connection) { c.Username = "jürgen" }, []Way{LoginCommand, Plain}, true, Plain},
		{"AUTO", func(c *mail.Connection) { c.Username = "jürgen" }, []Way{LoginCommand}, true, LoginCommand},
		{"AUTO", withKey, all, true, External},
		{"AUTO", withKey, []Way{Plain, ScramPlus}, true, ""},
		{"AUTO", func(c *mail.Connection) { c.Key = &mail.ClientKey{} }, all, true, ScramPlus},
		{"AUTO", withToken, all, true, OAuthBearer},
		{"AUTO", withToken, []Way{XOAuth2, Plain}, true, XOAuth2},
		{"AUTO", withToken, []Way{Plain, LoginCommand}, true, ""},
		{"XOAUTH2", withToken, all, true, XOAuth2},
		{"XOAUTH2", nil, all, true, XOAuth2}, // the password is a token
		{"OAUTHBEARER", nil, []Way{XOAuth2}, true, ""},
		{"EXTERNAL", withKey, all, true, External},
		{"PLAIN", nil, all, true, Plain},
		{"PLAIN", nil, []Way{LoginCommand, Login}, true, ""},
		{"LOGIN", nil, all, true, LoginCommand},
		{"LOGIN", nil, []Way{Login, Plain}, true, Login},
		{"CRAM_MD5", nil, all, true, CramMD5},
		{"SCRAM_SHA_256", nil, all, true, Scram},
		{"SCRAM_SHA_256", nil, []Way{ScramPlus, Plain}, true, ""},
		{"SCRAM_SHA_256", nil, []Way{Plain}, true, ""},
		{"SCRAM_SHA_256_PLUS", nil, all, true, ScramPlus},
		{"SCRAM_SHA_256_PLUS", nil, all, false, ""},
		{"SCRAM_SHA_256_PLUS", nil, []Way{Scram, Plain}, true, ""},
		{"APOP", nil, []Way{APOP, UserPass}, true, APOP},
	} {
		t.Run(fmt.Sprint(row.auth, " among ", row.offered), func(t *testing.T) {
			t.Parallel()
			c := &mail.Connection{Username: "u", Password: secret, Auth: row.auth}
			if row.set != nil {
				row.set(c)
			}
			if way, ok := Choose(c, row.offered, row.binding); way != row.want || ok != (row.want != "") {
				t.Errorf("%q, %v, not %q", way, ok, row.want)
			}
			if Allowed(c) == "" {
				t.Error("nothing is allowed")
			}
		})
	}
}

// TestAUserNameIsNoSecret, unless it is the password too: then what was said stays
// what must not be shown.
func TestAUserNameIsNoSecret(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		user, password string
		want           []string
	}{
		{"orders", "pass-word", []string{"cGFzcy13b3Jk", "pass-word"}},
		{"orders", "orders", []string{"b3JkZXJz", "b3JkZXJz", "orders", "orders"}},
	} {
		client, err := NewClient(Login, row.user, row.password, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := client.Next(nil); err != nil {
				t.Fatal(err)
			}
		}
		if said := client.Said(); !slices.Equal(said, row.want) {
			t.Errorf("%s, %s: %q", row.user, row.password, said)
		}
	}
}

// TestChallenges are the examples of the documents that define the mechanisms.
func TestChallenges(t *testing.T) {
	t.Parallel()
	if got := Digest("<1896.697170952@dbc.mtview.ca.us>", "tanstaaf"); got != "c4c9334bac560ecc979e58001b3e22fb" { // RFC 1939, section 7
		t.Error(got)
	}
	client, err := NewClient(CramMD5, "tim", "tanstaaftanstaaf", nil, nil) // RFC 2195, section 2
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Next([]byte("<1896.697170952@postoffice.reston.mci.net>")); err != nil || string(got) != "tim b913a602c7eda7a495b4e6e7334d3890" {
		t.Errorf("%q, %v", got, err)
	}
	if said := client.Said(); len(said) != 2 || !strings.Contains(said[1], "b913a602c7eda7a495b4e6e7334d3890") {
		t.Errorf("it said %q", said)
	}
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	for greeting, want := range map[string]string{
		"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>": "<1896.697170952@dbc.mtview.ca.us>",
		"+OK ready <a@b> <c@d>":                                   "<a@b>",
		"+OK ready":                                               "",
		"+OK <no address>":                                        "",
		"+OK <unended@x":                                          "",
		"+OK ><":                                                  "",
	} {
		if got := Timestamp(greeting); got != want {
			t.Errorf("%q: %q", greeting, got)
		}
	}
}

// TestARefusedTokenSaysWhy: the answer to the challenge says nothing, and the
// challenge is kept.
func TestARefusedTokenSaysWhy(t *testing.T) {
	t.Parallel()
	for _, way := range []Way{XOAuth2, OAuthBearer} {
		for challenge, want := range map[string]string{
			`{"status":"invalid_token","scope":"mail"}`:            "status invalid_token, scope mail",
			`{"status":"400","schemes":"bearer"}`:                  "status 400",
			`{"error":"expired","error_description":"since noon"}`: "expired, since noon",
			"gibberish": "", "": "",
		} {
			client, err := NewClient(way, "u", "token", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, first, err := client.Start()
			answer, failed := client.Next([]byte(challenge))
			if err != nil || failed != nil || len(answer) > 1 || answer == nil || client.Reason() != want || !strings.Contains(string(first), "auth=Bearer token\x01\x01") {
				t.Errorf("%s, %s: %q, %q, %v, %v", way, challenge, answer, client.Reason(), err, failed)
			}
		}
	}
}

// TestAServerIsNotBelieved: one that does not know the password, or wants to keep
// us busy.
func TestAServerIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]func(string) string{
		"too few iterations":  func(s string) string { return strings.Replace(s, "i=4096", "i=1", 1) },
		"too many iterations": func(s string) string { return strings.Replace(s, "i=4096", "i=4294967295", 1) },
		"no number":           func(s string) string { return strings.Replace(s, "i=4096", "i=x", 1) },
		"another nonce":       func(s string) string { return "r=x" + s[2:] },
		"nothing":             func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, first := begin(t)
			server := conversation(t)
			challenge, err := server.Step(first)
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := client.Next([]byte(alter(challenge))); err == nil || client.Proved() {
				t.Errorf("it answers %q", answer)
			}
		})
	}
	client, first := begin(t)
	server := conversation(t)
	challenge, _ := server.Step(first)
	answer, _ := client.Next([]byte(challenge))
	final, err := server.Step(string(answer))
	if err != nil || client.Proved() {
		t.Fatal("proved before the server said so", err)
	}
	if _, err := client.Next([]byte(final)); err != nil || !client.Proved() {
		t.Error("not proved", err)
	}
	if _, err := client.Next(nil); err == nil {
		t.Error("it goes on for ever")
	}
}

func begin(t *testing.T) (client *Client, first string) {
	t.Helper()
	client, err := NewClient(Scram, "u", "secret", &tls.ConnectionState{}, []Way{Scram})
	if err != nil {
		t.Fatal(err)
	}
	_, response, err := client.Start()
	if err != nil || !strings.HasPrefix(string(response), "y,,") { // we could bind, and the server does not offer it
		t.Fatalf("%q, %v", response, err)
	}
	return client, string(response)
}

// conversation is a server's side.
func conversation(t *testing.T) *scram.ServerConversation {
	t.Helper()
	known, err := scram.SHA256.NewClient("u", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := known.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		t.Fatal(err)
	}
	return server.NewConversation()
}

// TestAPasswordThatAMechanismCannotCarry is a failure of the configuration.
func TestAPasswordThatAMechanismCannotCarry(t *testing.T) {
	t.Parallel()
	if _, err := NewClient(Scram, "u", "\u0000", nil, nil); err == nil {
		t.Error("it is carried")
	}
	if _, err := NewClient(UserPass, "u", "p", nil, nil); err == nil {
		t.Error("a command is a mechanism")
	}
}

// FuzzChallenge: whatever a server says, nothing panics, and a password is never
// said in clear text.
func FuzzChallenge(f *testing.F) {
	f.Add(byte(0), []byte("r=x,s=eA==,i=4096"))
	f.Add(byte(1), []byte(`{"status":"400"}`))
	ways := []Way{Scram, OAuthBearer, XOAuth2, CramMD5}
	f.Fuzz(func(t *testing.T, which byte, challenge []byte) {
		client, err := NewClient(ways[int(which)%len(ways)], "u", "pass-word", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.Start(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			answer, err := client.Next(challenge)
			if strings.Contains(string(answer), "pass-word") || slices.Contains(client.Said(), hex.EncodeToString([]byte("pass-word"))) {
				t.Errorf("%q", answer)
			}
			if err != nil {
				break
			}
		}
	})
}
