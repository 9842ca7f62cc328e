package main

import (
	"slices"
	"strings"

	"mailpoller/internal/mail"
)

// provider is what is known of one that many mailboxes are at: docs/providers.md
// says the rest.
type provider struct {
	name    string
	domains []string // of addresses
	hosts   map[mail.StoreType]string
	tokens  mail.Provider // empty: no tokens for everybody
	only    bool          // tokens alone: passwords do not work
	hint    string
}

var providers = []provider{
	{
		name: "Gmail", domains: []string{"gmail.com", "googlemail.com"},
		hosts:  map[mail.StoreType]string{mail.IMAP: "imap.gmail.com", mail.POP3: "pop.gmail.com"},
		tokens: mail.Google,
		hint:   "it takes an app password (https://myaccount.google.com/apppasswords), or a token: then an OAuth client of your own",
	},
	{
		name: "Microsoft", domains: []string{"outlook.com", "hotmail.com", "live.com", "msn.com", "onmicrosoft.com", "office365.com"},
		hosts:  map[mail.StoreType]string{mail.IMAP: "outlook.office365.com", mail.POP3: "outlook.office365.com"},
		tokens: mail.Microsoft, only: true,
		hint: "it takes a token, and no password: register an application that is a public client",
	},
	{
		name: "Yahoo", domains: []string{"yahoo.com", "ymail.com"},
		hosts: map[mail.StoreType]string{mail.IMAP: "imap.mail.yahoo.com", mail.POP3: "pop.mail.yahoo.com"},
		hint:  "it takes an app password, from Account security",
	},
	{
		name: "Fastmail", domains: []string{"fastmail.com", "fastmail.fm"},
		hosts: map[mail.StoreType]string{mail.IMAP: "imap.fastmail.com", mail.POP3: "pop.fastmail.com"},
		hint:  "it takes an app password, from Settings, Privacy & Security",
	},
}

// providerOf finds a provider by its server, or else by the domain of an
// address. It is nil for one that is not known.
func providerOf(host, address string) *provider {
	_, domain, _ := strings.Cut(strings.ToLower(address), "@")
	for i := range providers {
		p := &providers[i]
		for _, h := range p.hosts {
			if strings.EqualFold(h, host) {
				return p
			}
		}
		if host == "" && slices.ContainsFunc(p.domains, func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }) {
			return p
		}
	}
	return nil
}

// personal reports whether an address is of Outlook.com, and not of a company:
// Microsoft keeps them in a directory of their own.
func personal(address string) bool {
	_, domain, _ := strings.Cut(strings.ToLower(address), "@")
	return slices.Contains([]string{"outlook.com", "hotmail.com", "live.com", "msn.com"}, domain)
}
