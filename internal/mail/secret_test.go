package mail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := NewSecret("canary")
	c := Connection{Name: "a", Password: SecretSource{Literal: s}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "connection", c)
	j, err := json.Marshal(map[string]any{"s": s, "c": c})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", c, &c, c),
		fmt.Sprint(c.Password), string(j), log.String(),
	} {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
			t.Errorf("the secret is in %q", text)
		}
	}
	if s.Reveal() != "canary" {
		t.Error("the secret cannot be had at all")
	}
}

func TestAccountTellsMailboxesApartAndNotRoutes(t *testing.T) {
	t.Parallel()
	base := Connection{Store: IMAP, Host: "Mail.Example.com", Username: "u", Mailbox: "INBOX", Port: 143}
	same := base
	same.Port, same.Host, same.Security = 993, "mail.example.com", SSLTLS
	if base.Account() != same.Account() {
		t.Errorf("%s and %s are one account", base.Account(), same.Account())
	}
	for _, change := range []func(*Connection){
		func(c *Connection) { c.Username = "v" },
		func(c *Connection) { c.Mailbox = "Archive" },
		func(c *Connection) { c.Host = "other.example.com" },
		func(c *Connection) { c.Store = POP3 },
	} {
		other := base
		change(&other)
		if base.Account() == other.Account() {
			t.Errorf("%s stands for two accounts", base.Account())
		}
	}
}
