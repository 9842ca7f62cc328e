package mail

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Grant is how an access token is got.
type Grant string

// The grants, spelled as the configuration spells them.
const (
	GrantRefreshToken      Grant = "refresh_token"      // a user consented once
	GrantClientCredentials Grant = "client_credentials" // the program itself has access
	GrantServiceAccount    Grant = "service_account"    // a key of Google's, which acts for the user
)

// Provider is who gives access tokens.
type Provider string

// The providers, spelled as the configuration spells them.
const (
	Google    Provider = "google"
	Microsoft Provider = "microsoft"
	Custom    Provider = "custom"
)

// OAuth2 is how a connection gets an access token, which it logs in with
// instead of a password. Like its Connection it is never changed.
type OAuth2 struct {
	Provider Provider
	Grant    Grant

	ClientID       string
	ClientSecret   SecretSource // none for a public client
	Tenant         string       // of Microsoft
	Scopes         []string
	RefreshToken   SecretSource // none where it came by `poller oauth login`
	ServiceAccount SecretSource // Google's JSON key

	// The endpoints; all but that of tokens may be missing.
	TokenURL, DeviceURL, AuthURL string

	Account string         // the user; empty where the grant is for none in particular
	Roots   *x509.CertPool // of the endpoints; nil means the system's
	Timeout time.Duration  // for one answer of an endpoint
}

// ID is equal for two connections exactly when one access token is good for
// both: who asks, for whom, for what, and whom. It holds no secret, and it
// outlives them: a new client secret is no reason to log in again.
func (o *OAuth2) ID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q",
		o.Grant, o.ClientID, o.TokenURL, o.Scopes, o.Account, o.ServiceAccount.identity()))
	return hex.EncodeToString(sum[:16])
}

// Literal reports whether a secret of it stands in the configuration itself.
func (o *OAuth2) Literal() bool {
	return !o.ClientSecret.Literal.IsZero() || !o.RefreshToken.Literal.IsZero() || !o.ServiceAccount.Literal.IsZero()
}

// identity is equal for equal sources. A secret that stands in the
// configuration itself has its digest.
func (s SecretSource) identity() string {
	if !s.Literal.IsZero() {
		sum := sha256.Sum256([]byte(s.Literal.Reveal()))
		return hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("%q %q %q %q", s.File, s.Env, s.Credential, s.Command)
}

// StoredToken is a refresh token as it is kept over a restart.
type StoredToken struct {
	Refresh Secret
	// Seed is the digest of the configured refresh token that this one came
	// after. While it is the configured one, this one is newer.
	Seed string
	Time time.Time // when it was stored
}

// Token is an access token.
type Token struct {
	Access  Secret
	Expires time.Time
}

// Prompt is what a person has to do to let the program in.
type Prompt struct {
	Address  string    // to open in a browser
	Code     string    // to type there; empty for none
	Redirect string    // where the browser is sent afterwards, on this machine; empty for nowhere
	Expires  time.Time // zero if it is not known
}

// GrantState is what is known of the grant of a connection.
type GrantState struct {
	Connection string
	Grant      Grant
	Provider   Provider
	Refresh    string    // where the refresh token is from: "configuration", "stored", or empty for none
	Expires    time.Time // of the access token that is held; zero for none
	Err        *Error    // of the last try to get one; nil if that went well
	Failed     time.Time // when that was
}

// CheckEndpoint says what is wrong with the address of an endpoint: secrets go
// over TLS, unless they do not leave this machine.
func CheckEndpoint(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("is no address of an endpoint")
	case u.Scheme == "https", u.Scheme == "http" && Loopback(u.Hostname()):
		return nil
	}
	return errors.New("is not https")
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}
