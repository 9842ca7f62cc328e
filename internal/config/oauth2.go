package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

var oauth2Keys = []key[mail.OAuth2]{
	of("provider", "who gives the tokens", choice(mail.Google, mail.Microsoft, mail.Custom), func(o *mail.OAuth2) *mail.Provider { return &o.Provider }),
	of("grant", "refresh_token for a user who consents once, client_credentials for a program with access of its own (Microsoft), service_account for a key that acts for users (Google)",
		choice(mail.GrantRefreshToken, mail.GrantClientCredentials, mail.GrantServiceAccount), func(o *mail.OAuth2) *mail.Grant { return &o.Grant }),
	of("client_id", "what the provider calls the program", line(512), func(o *mail.OAuth2) *string { return &o.ClientID }),
	of("client_secret", "its secret; a public client has none", secret(), func(o *mail.OAuth2) *mail.SecretSource { return &o.ClientSecret }),
	of("tenant", "the directory, of Microsoft; by default organizations, any of them", tenant(), func(o *mail.OAuth2) *string { return &o.Tenant }),
	of("scopes", "what to ask access for; by default the mail of the provider", scopes(), func(o *mail.OAuth2) *[]string { return &o.Scopes }),
	of("refresh_token", "the first refresh token, where it does not come by poller oauth login", secret(), func(o *mail.OAuth2) *mail.SecretSource { return &o.RefreshToken }),
	of("service_account", "the JSON key of a service account of Google", secret(), func(o *mail.OAuth2) *mail.SecretSource { return &o.ServiceAccount }),
	ofCustom("token_url", "where a custom provider gives tokens", func(o *mail.OAuth2) *string { return &o.TokenURL }),
	ofCustom("device_url", "where a login begins that is finished on another device (RFC 8628)", func(o *mail.OAuth2) *string { return &o.DeviceURL }),
	ofCustom("auth_url", "where a login begins in a browser of this machine", func(o *mail.OAuth2) *string { return &o.AuthURL }),
}

// ofCustom is the key of an endpoint. The others' endpoints are known, and not
// shown.
func ofCustom(name, about string, field func(*mail.OAuth2) *string) key[mail.OAuth2] {
	k := of(name, about, endpoint(), field)
	k.show = func(o *mail.OAuth2) any {
		if o.Provider != mail.Custom {
			return nil
		}
		return unlessEmpty(*field(o))
	}
	return k
}

// newOAuth2 is a block of which nothing is given.
func newOAuth2() mail.OAuth2 { return mail.OAuth2{Grant: mail.GrantRefreshToken} }

// oauth2 is the block of a connection. What it does not say, the one of the
// defaults says.
func oauth2() kind[*mail.OAuth2] {
	return kind[*mail.OAuth2]{
		accepts: "a mapping with the keys " + strings.Join(names(oauth2Keys), ", "),
		schema:  orNothing(ref("oauth2")),
		secret:  true,
		set: func(l *loader, n node, dst **mail.OAuth2) error {
			if n.Kind != yaml.MappingNode {
				return errNot
			}
			o := newOAuth2()
			if *dst != nil {
				o = **dst
			}
			faults := len(l.faults)
			decode(l, n, oauth2Keys, &o)
			l.spoilt[&o] = len(l.faults) > faults || l.spoilt[*dst]
			*dst = &o
			return nil
		},
		show: func(o *mail.OAuth2) any {
			if o == nil {
				return nil
			}
			return shown(oauth2Keys, o)
		},
	}
}

func endpoint() kind[string] {
	const accepts = "an https:// address; http:// on loopback alone"
	return scalar(accepts, texts(`[Hh][Tt][Tt][Pp][Ss]?://.+`), func(s string) (string, error) {
		switch err := mail.CheckEndpoint(s); {
		case err != nil && strings.Contains(s, "@"): // it may hold a password
			return "", verdict{errors.New("found *** with an @ in it; accepted: " + accepts)}
		case err != nil:
			return "", fmt.Errorf("which %w", err)
		}
		return s, nil
	}, unlessEmpty)
}

// directory is the name of a tenant: its id, one of its domains, or one of the
// words that stand for many. It becomes part of an address.
var directory = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func tenant() kind[string] {
	s := only(object{"type": written, "pattern": "^([A-Za-z0-9][A-Za-z0-9.-]*)?$"})
	return scalar("the id or a domain of a directory, organizations, consumers or common", s, func(s string) (string, error) {
		if len(s) > 253 || !directory.MatchString(s) {
			return "", errNot
		}
		return s, nil
	}, unlessEmpty)
}

// scope is one (RFC 6749, section 3.3).
var scope = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)

func scopes() kind[[]string] {
	one := only(object{"type": written, "pattern": `^[^"\\]*$`})
	return kind[[]string]{
		accepts: "a list of scopes, or a text with blanks between them",
		schema:  oneOf(one, list(one)),
		set: func(l *loader, n node, dst *[]string) error {
			items := []node{n}
			if n.Kind == yaml.SequenceNode {
				items = l.items(n)
			}
			var all []string
			var wrong several
			for _, item := range items {
				text, err := item.text()
				for one := range strings.FieldsSeq(text) {
					if len(one) > 512 || !scope.MatchString(one) {
						err = errNot
					}
					all = append(all, one)
				}
				if err != nil {
					wrong = append(wrong, misplaced{item, err})
				}
			}
			*dst = all
			return wrong.orNil()
		},
		show: func(all []string) any {
			if len(all) == 0 {
				return nil
			}
			return all
		},
	}
}

// authorised judges what the settings of a block mean together, and completes
// them with what is known of the provider.
func (l *loader) authorised(s *section) {
	if s.OAuth2 == nil {
		return
	}
	at := s.place("oauth2")
	if l.spoilt[s.OAuth2] {
		return
	}
	o := *s.OAuth2 // the defaults keep theirs
	s.OAuth2 = &o
	google, microsoft, custom := o.Provider == mail.Google, o.Provider == mail.Microsoft, o.Provider == mail.Custom
	known := google || microsoft || custom
	serving, own := o.Grant == mail.GrantServiceAccount, o.Grant == mail.GrantClientCredentials
	faults := len(l.faults)
	for _, c := range []struct {
		wrong   bool
		message string
	}{
		{o.Provider == "", "provider: missing; accepted: " + oauth2Keys[0].accepts},
		{o.ClientID == "" && !serving, "client_id: missing; accepted: what the provider calls the program"},
		{serving && known && !google, "grant: found service_account, which is Google's; accepted: refresh_token or client_credentials"},
		{own && google, "grant: found client_credentials, which Google does not have for mail; accepted: refresh_token or service_account"},
		{serving && o.ServiceAccount.IsZero(), "service_account: missing; accepted: {file: PATH} or {credential: NAME} of the JSON key"},
		{!serving && !o.ServiceAccount.IsZero(), "service_account: found beside grant: " + string(o.Grant) + "; accepted: nothing, or grant: service_account"},
		{(serving || own) && !o.RefreshToken.IsZero(), "refresh_token: found beside grant: " + string(o.Grant) + "; accepted: nothing, or grant: refresh_token"},
		{own && o.ClientSecret.IsZero(), "client_secret: missing; accepted: the secret of the client, which has nothing else to prove who it is"},
		{own && microsoft && many(o.Tenant), "tenant: found " + cmp.Or(o.Tenant, "nothing") + ", but the grant client_credentials is for one directory; accepted: its id or one of its domains"},
		{o.Tenant != "" && known && !microsoft, "tenant: found " + o.Tenant + " beside provider: " + string(o.Provider) + "; accepted: nothing, or provider: microsoft"},
		{o.TokenURL == "" && custom, "token_url: missing; accepted: " + endpoint().accepts},
		{
			o.TokenURL+o.DeviceURL+o.AuthURL != "" && known && !custom,
			"token_url, device_url, auth_url: found beside provider: " + string(o.Provider) + ", whose endpoints are known; accepted: nothing, or provider: custom",
		},
		{s.Username == "", "username: missing; accepted: the account that the token is for"},
	} {
		if c.wrong {
			l.fault(at, "oauth2: %s", c.message)
		}
	}
	switch s.Auth {
	case mail.AuthAuto, mail.AuthXOAuth2, mail.AuthOAuthBearer:
	default:
		l.fault(s.place("auth"), "auth: found %s, which takes no token, beside oauth2; accepted: AUTO, XOAUTH2 or OAUTHBEARER", s.Auth)
	}
	if len(l.faults) == faults {
		complete(&o, s)
	}
}

// many reports whether a tenant stands for more than one directory.
func many(tenant string) bool {
	switch strings.ToLower(tenant) {
	case "", "organizations", "consumers", "common":
		return true
	}
	return false
}

// complete fills in what is known of a provider.
func complete(o *mail.OAuth2, s *section) {
	o.Roots, o.Timeout = s.TLS.Roots, s.Timeout
	if o.Grant != mail.GrantClientCredentials { // whose token is good for every account
		o.Account = s.Username
	}
	switch o.Provider {
	case mail.Google:
		// No device flow: Google's gives no access to mail.
		o.TokenURL, o.AuthURL = "https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/v2/auth"
		if o.Scopes == nil {
			o.Scopes = []string{"https://mail.google.com/"}
		}
	case mail.Microsoft:
		if o.Tenant == "" {
			o.Tenant = "organizations"
		}
		base := "https://login.microsoftonline.com/" + o.Tenant + "/oauth2/v2.0/"
		o.TokenURL, o.DeviceURL = base+"token", base+"devicecode"
		switch {
		case o.Scopes != nil:
		case o.Grant == mail.GrantClientCredentials:
			o.Scopes = []string{"https://outlook.office365.com/.default"}
		default:
			o.Scopes = []string{"https://outlook.office.com/" + string(s.Store) + ".AccessAsUser.All", "offline_access"}
			if s.Store == mail.POP3 {
				o.Scopes[0] = "https://outlook.office.com/POP.AccessAsUser.All"
			}
		}
	}
}
