package config

import (
	"cmp"
	"net"
	"net/url"
	"strconv"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
	"mailpoller/internal/proxy"
)

// proxySettings are those of a proxy as the file knows them.
type proxySettings struct {
	url      string
	username string
	password mail.SecretSource
}

var proxyKeys = []key[proxySettings]{
	of("url", "where it is", line(1024), func(p *proxySettings) *string { return &p.url }),
	of("username", "who it lets in, where it does not let in everybody", line(255), func(p *proxySettings) *string { return &p.username }),
	of("password", "the secret of that", secret(), func(p *proxySettings) *mail.SecretSource { return &p.password }),
}

// through is a proxy: its URL, or a mapping with the URL and how to log in. An
// empty one is none, also where the defaults have one.
func through() kind[*mail.Proxy] {
	return kind[*mail.Proxy]{
		accepts: "socks5://HOST:PORT or http://HOST:PORT, or a mapping with the keys url, username and password, or nothing",
		schema:  oneOf(texts(`([Ss][Oo][Cc][Kk][Ss]5|[Hh][Tt][Tt][Pp])://.+`), ref("proxy")),
		secret:  true, // an URL may hold a password
		set: func(l *loader, n node, dst **mail.Proxy) error {
			var p proxySettings
			if n.Kind == yaml.MappingNode {
				faults := len(l.faults)
				if decode(l, n, proxyKeys, &p); len(l.faults) > faults {
					return nil
				}
			} else {
				text, err := n.text()
				if err != nil {
					return err
				}
				if text == "" {
					*dst = nil
					return nil
				}
				p.url = text
			}
			found, ok := p.proxy()
			if !ok {
				return errNot
			}
			*dst = found
			return nil
		},
		show: func(p *mail.Proxy) any {
			if p == nil {
				return nil
			}
			return shown(proxyKeys, &proxySettings{p.String(), p.Username, p.Password})
		},
	}
}

// proxy reads the URL. ok is false where it is none of a proxy, or where it and
// another key say who logs in.
func (p *proxySettings) proxy() (found *mail.Proxy, ok bool) {
	u, err := url.Parse(p.url)
	if err != nil || u.Hostname() == "" || u.Scheme != proxy.SOCKS5 && u.Scheme != proxy.HTTP || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return nil, false
	}
	port := cmp.Or(u.Port(), map[string]string{proxy.SOCKS5: "1080", proxy.HTTP: "8080"}[u.Scheme])
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return nil, false
	}
	found = &mail.Proxy{Scheme: u.Scheme, Address: net.JoinHostPort(u.Hostname(), port), Username: p.username, Password: p.password}
	if u.User != nil {
		if p.username != "" || !p.password.IsZero() {
			return nil, false
		}
		password, _ := u.User.Password()
		found.Username, found.Password = u.User.Username(), mail.SecretSource{Literal: mail.NewSecret(password)}
	}
	return found, (found.Username == "") == found.Password.IsZero()
}
