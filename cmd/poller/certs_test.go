package main

import (
	"errors"
	"strings"
	"testing"

	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

func TestCerts(t *testing.T) {
	t.Parallel()
	own, issuer := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	chain := []api.CertificateFacts{
		{Fingerprint: own, Subject: "CN=mail", Issuer: "CN=CA", Names: []string{"mail.example.com", "192.0.2.1"}, NotBefore: at, NotAfter: at.AddDate(300, 0, 0)},
		{Fingerprint: issuer, Subject: "CN=CA", Issuer: "CN=CA", Names: []string{}, NotBefore: at, NotAfter: at, Authority: true, Trusted: true},
	}
	kept := api.CertificateView{CertificateFacts: chain[0], Host: "mail.example.com", Port: 993, Connection: "a", Reason: "unknown authority", Trusted: true, First: at, Last: at, Times: 2, Chain: chain}
	odd := api.CertificateFacts{Fingerprint: strings.Repeat("ef", 32), Size: 12, Problem: "not a certificate"}
	unread := api.CertificateView{CertificateFacts: odd, Host: "h", Port: 1, Connection: "b", Chain: []api.CertificateFacts{odd}}
	daemon := &daemontest.Fake{
		Presented: []api.CertificateView{kept, unread},
		OnReview: func(verb, fingerprint, server string) (api.TrustView, error) {
			if fingerprint == "ffff" {
				return api.TrustView{}, errors.New("no certificate with this fingerprint")
			}
			return api.TrustView{Fingerprint: fingerprint, Subject: "CN=mail by " + verb, Server: server, Own: verb != "revoke"}, nil
		},
	}
	try(t, []command{
		{name: "list", daemon: daemon, args: "certs list", golden: true},
		{name: "list of none", daemon: &daemontest.Fake{}, args: "certs list", out: "No certificate was refused.\n"},
		{name: "list as json", daemon: &daemontest.Fake{}, args: "certs list --json", out: "[]\n"},
		{name: "list without a daemon", args: "certs list", out: "No certificate was refused.\n"},
		{name: "show", daemon: daemon, args: "certs show AB:AB:ABab", golden: true},
		{name: "show by an issuer", daemon: daemon, args: "certs show cdcd --json", golden: true},
		{name: "show what cannot be read", daemon: daemon, args: "certs show efef", golden: true},
		{name: "show what is not kept", daemon: daemon, args: "certs show 0000", code: 1, golden: true},
		{name: "trust", daemon: daemon, args: "certs trust abab --server h:1", out: "trusted for h:1: CN=mail by trust (the server's own certificate), abab\n"},
		{name: "revoke", daemon: daemon, args: "certs revoke abab --server h:1", out: "no longer trusted for h:1: CN=mail by revoke (an issuer's certificate), abab\n"},
		{name: "remove", daemon: daemon, args: "certs remove abab --server h:1", out: "removed for h:1: CN=mail by remove (the server's own certificate), abab\n"},
		{name: "trust as json", daemon: daemon, args: "certs trust abab --server h:1 --json", golden: true},
		{name: "trust what is not kept", daemon: daemon, args: "certs trust ffff", code: 1, errs: "poller: no certificate with this fingerprint\n"},
	})
}
