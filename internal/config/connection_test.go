package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
)

func TestTheIDOfTheClient(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1024)
	for written, want := range map[string]mail.ClientID{
		"":         {},
		"enabled":  {},
		"DISABLED": {Disabled: true},
		`{vendor: Example, "support email": a@example.com, os: 6.1}`: {Fields: [][2]string{{"vendor", "Example"}, {"support email", "a@example.com"}, {"os", "6.1"}}},
		"{os: yes, arch: 0x1}":                           {Fields: [][2]string{{"os", "yes"}, {"arch", "0x1"}}},
		"{a23456789012345678901234567890: " + long + "}": {Fields: [][2]string{{"a23456789012345678901234567890", long}}},
	} {
		if got := load(t, minimal+"    client_id: "+written).Connections[0].ClientID; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%.60s is read as %.200v", written, got)
		}
	}
	c := load(t, "defaults: {client_id: {vendor: Example}, host: h, port: 1, folder: /srv/a, password: {env: P}}\nconnections: [{name: a}, {name: b, client_id: DISABLED}, {name: c, store_type: POP3}]")
	if a, b, pop := c.Connections[0].ClientID, c.Connections[1].ClientID, c.Connections[2].ClientID; len(a.Fields) != 1 || !b.Disabled || len(b.Fields) != 0 || pop.Disabled || pop.Fields != nil {
		t.Errorf("of defaults: %v, %v, %v", a, b, pop)
	}
	for i := range 2 {
		var fields []string
		for n := range maxIDFields + i {
			fields = append(fields, fmt.Sprintf("f%d: x", n))
		}
		if _, err := Load(write(t, minimal+"    client_id: {"+strings.Join(fields, ", ")+"}")); (err == nil) != (i == 0) {
			t.Errorf("%d fields: %v", len(fields), err)
		}
	}
}

// TestTheDefaultOfCommandTimeoutGivesWay to what is said of the others; what is
// said of it itself has to fit.
func TestTheDefaultOfCommandTimeoutGivesWay(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]time.Duration{
		"":                                   2 * time.Minute,
		"timeout: 5m":                        5 * time.Minute,
		"poll_timeout: 1m":                   time.Minute,
		"timeout: 2s\n    poll_timeout: 10s": 10 * time.Second,
		"timeout: 10m":                       10 * time.Minute,
		"command_timeout: 30s":               30 * time.Second,
		"command_timeout: 600":               10 * time.Minute,
		"command_timeout:\n    poll_timeout: 31s": 31 * time.Second,
	} {
		if got := load(t, minimal+"    "+written).Connections[0].CommandTimeout; got != want {
			t.Errorf("%q: %v, not %v", written, got, want)
		}
	}
}

func TestDirectorySyncIsRequiredUnlessSaidOtherwise(t *testing.T) {
	t.Parallel()
	for written, optional := range map[string]bool{"": false, "required": false, "IF_SUPPORTED": true, "if_supported": true} {
		if got := load(t, minimal+"    directory_sync: "+written).Connections[0].DirectorySyncOptional; got != optional {
			t.Errorf("%q: %v", written, got)
		}
	}
}

func TestHeadersAreLoggedUnlessSaidOtherwise(t *testing.T) {
	t.Parallel()
	for written, headers := range map[string]bool{"log: {level: warn}": true, "log: {headers: ENABLED}": true, "log: {headers: disabled}": false, "log: {headers: }": true} {
		if got := load(t, written+minimal).Log.Headers; got != headers {
			t.Errorf("%s: %v", written, got)
		}
	}
}

// TestSuitesThatGoDoesNotHave are a doubt, all of a list in one, as long as there
// is one that it has.
func TestSuitesThatGoDoesNotHave(t *testing.T) {
	t.Parallel()
	// What a client in Java of today is configured with.
	java := "TLS_AES_128_GCM_SHA256, TLS_DHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDH_RSA_WITH_AES_128_CBC_SHA, SSL_RSA_WITH_3DES_EDE_CBC_SHA, SSL_DH_anon_EXPORT_WITH_RC4_40_MD5," +
		" TLS_PSK_WITH_AES_128_CCM, TLS_RSA_WITH_CAMELLIA_128_CBC_SHA, tls_rsa_with_seed_cbc_sha, SSL_RSA_WITH_NULL_MD5, TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
	c := load(t, minimal+"    match_server_hostname: ENABLED\n    username: u\n    accepted_cipher_suites: "+java)
	if got := c.Connections[0].TLS.Suites; len(got) != 2 {
		t.Errorf("suites %x", got)
	}
	var got []string
	for _, w := range c.Warnings {
		got = append(got, w.Message)
	}
	want := []string{
		"accepted_cipher_suites: known, but never negotiated, since Go does not have them: TLS_DHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDH_RSA_WITH_AES_128_CBC_SHA, SSL_DH_anon_EXPORT_WITH_RC4_40_MD5, TLS_PSK_WITH_AES_128_CCM, TLS_RSA_WITH_CAMELLIA_128_CBC_SHA, tls_rsa_with_seed_cbc_sha, SSL_RSA_WITH_NULL_MD5",
		"accepted_cipher_suites: signals and no cipher suites, so without effect: TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	many := strings.Repeat("TLS_AES_128_GCM_SHA256,", maxWords+1)
	if _, err := Load(write(t, minimal+"    accepted_cipher_suites: "+many)); err == nil || !strings.Contains(err.Error(), "more than 1000 names") {
		t.Errorf("without end: %v", err)
	}
}
