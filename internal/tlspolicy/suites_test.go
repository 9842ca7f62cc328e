package tlspolicy

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestSuitesAreKnownByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		id    uint16
		known bool
	}{
		{"TLS_AES_128_GCM_SHA256", tls.TLS_AES_128_GCM_SHA256, true},
		{"tls_rsa_with_rc4_128_sha", tls.TLS_RSA_WITH_RC4_128_SHA, true},
		{"SSL_RSA_WITH_3DES_EDE_CBC_SHA", tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, true},
		{"ssl_ecdhe_rsa_with_aes_128_gcm_sha256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
		{"TLS_DHE_RSA_WITH_AES_128_CBC_SHA", 0, true},
		{"SSL_DHE_DSS_WITH_DES_CBC_SHA", 0, true},
		{"TLS_ECDH_ECDSA_WITH_AES_256_GCM_SHA384", 0, true},
		{"SSL_DH_anon_WITH_RC4_128_MD5", 0, true},
		{"TLS_DH_ANON_WITH_AES_128_CBC_SHA", 0, true},
		{"TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", 0, true},
		{"TLS_SRP_SHA_RSA_WITH_AES_128_CBC_SHA", 0, true},
		{"TLS_RSA_WITH_CAMELLIA_256_CBC_SHA", 0, true},
		{"TLS_ECDHE_RSA_WITH_ARIA_256_GCM_SHA384", 0, true},
		{"TLS_AES_128_CCM_8_SHA256", 0, true},
		{"TLS_RSA_WITH_SEED_CBC_SHA", 0, true},
		{"SSL_RSA_WITH_IDEA_CBC_SHA", 0, true},
		{"SSL_RSA_WITH_NULL_SHA", 0, true},
		{"SSL_NULL_WITH_NULL_NULL", 0, true},
		{"SSL_RSA_EXPORT_WITH_RC4_40_MD5", 0, true},
		{"SSL_RSA_EXPORT1024_WITH_RC4_56_SHA", 0, true},
		{"SSL_RSA_FIPS_WITH_3DES_EDE_CBC_SHA", 0, true},
		{"TLS_KRB5_EXPORT_WITH_DES_CBC_40_MD5", 0, true},
		{"TLS_EMPTY_RENEGOTIATION_INFO_SCSV", 0, true},
		{"TLS_FALLBACK_SCSV", 0, true},
		{"TLS_RSA_WITH_AES_128_GCM_SHA265", 0, false},
		{"ECDHE-RSA-AES128-GCM-SHA256", 0, false},
		{"TLS_", 0, false},
		{"", 0, false},
		{"#", 0, false},
		{"# Of drafts, of SSL 3.0 and of other libraries.", 0, false},
	} {
		if id, known := Suite(c.name); id != c.id || known != c.known {
			t.Errorf("%q: %x, %v", c.name, id, known)
		}
	}
}

// TestTheRegistryIsWhole: each line is one name, and those of the library are
// among them.
func TestTheRegistryIsWhole(t *testing.T) {
	t.Parallel()
	listed := make(map[string]bool)
	for line := range strings.Lines(registry) {
		name := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(name, "#") {
			continue
		}
		if _, known := Suite(name); !known || listed[name] || !strings.HasPrefix(name, "TLS_") || strings.ContainsAny(name, " \t\r") {
			t.Errorf("%q", name)
		}
		listed[name] = true
	}
	for _, s := range allSuites() {
		if !listed[s.Name] {
			t.Errorf("%s is not in the registry", s.Name)
		}
	}
	if len(listed) < 350 {
		t.Errorf("only %d names", len(listed))
	}
}
