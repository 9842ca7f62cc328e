package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"mailpoller/internal/config"
	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// question is one about a key of the connection, or about a secret.
type question struct {
	key    string
	text   func() string
	answer *string
	given  string        // by a flag
	usual  func() string // the answer of who only types return; nil for none
	judge  func(string) error
	before func()       // ahead of the question
	then   func() error // with an answer that is good
	wanted func() bool  // nil for always
	secret bool         // not shown
}

// asking is the questions, and where a person is in them.
type asking struct {
	questions []question
	asked     []int             // which of them were put
	hostPort  string            // the port that was given with the host
	typed     map[string]string // answers of a person, by key, if they were not the usual ones
	agreed    string            // y, or n
	explained bool              // how to answer
}

// put puts all questions whose answer is not known, and completes what nobody
// is asked for. A person can go back to any of them, and finds the answer that
// was given before. What a flag says wrongly is a matter of usage.
func (s *setup) put(ctx context.Context) error {
	var missing []string
	for i := 0; i < len(s.questions); i++ {
		q := &s.questions[i]
		if q.wanted != nil && !q.wanted() {
			continue
		}
		usual := ""
		if q.usual != nil {
			usual = q.usual()
		}
		switch {
		case *q.answer != "": // a flag, or another answer, said it
		case s.asker == nil && usual == "":
			missing = append(missing, "--"+strings.ReplaceAll(q.key, "_", "-"))
			continue
		case s.asker == nil:
			*q.answer = usual
		default:
			err := s.question(ctx, q, usual)
			if errors.Is(err, errBack) {
				i = s.back(i) - 1
				continue
			}
			if err != nil {
				return &failedError{err: err}
			}
			s.asked = append(s.asked, i)
		}
		if err := q.judge(*q.answer); err != nil {
			return err
		}
		if q.then != nil {
			if err := q.then(); err != nil {
				return err
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("init: missing %s; without a terminal nothing is asked", strings.Join(missing, ", "))
	}
	return nil
}

// back goes back from a question to the one that was put before it, which it
// returns.
func (s *setup) back(from int) int {
	if len(s.asked) == 0 {
		fmt.Fprintln(s.stderr, "  This is the first question.")
		return from
	}
	last := s.asked[len(s.asked)-1]
	s.asked = s.asked[:len(s.asked)-1]
	for i := last; i < len(s.questions); i++ {
		*s.questions[i].answer = s.questions[i].given
	}
	return last
}

// again goes back to the first question.
func (s *setup) again() {
	s.asked = s.asked[:min(len(s.asked), 1)]
	s.back(0)
}

// question puts one. The usual answer may be another one than it was before; what
// a person typed instead of it is proposed again.
func (s *setup) question(ctx context.Context, q *question, usual string) (err error) {
	if !s.explained {
		fmt.Fprintln(s.stderr, "Return takes the answer in brackets, < goes back to the question before, Ctrl-C ends.")
		s.explained = true
	}
	if q.before != nil {
		q.before()
	}
	before := s.typed[q.key]
	judge := func(v string) error {
		switch {
		case v == "<", !q.secret && strings.EqualFold(v, "back"):
			return errBack
		case q.secret && v == "" && before != "":
			return nil
		}
		return q.judge(v)
	}
	if !q.secret {
		*q.answer, err = s.ask(ctx, q.text(), cmp.Or(before, usual), judge)
	} else {
		text := q.text()
		if before != "" {
			text += ", empty for the one typed before"
		}
		*q.answer, err = s.secret(ctx, text, judge)
		*q.answer = cmp.Or(*q.answer, before)
	}
	if err != nil {
		*q.answer = ""
		return err
	}
	delete(s.typed, q.key)
	if *q.answer != usual {
		s.typed[q.key] = *q.answer
	}
	return nil
}

func judge(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", key)
	}
	return config.Judge(key, value)
}

// about is a question about a key that a flag can say.
func about(key, text string, answer *string, usual func() string, then func()) question {
	q := question{key: key, text: func() string { return text }, answer: answer, given: *answer, usual: usual}
	q.judge = func(v string) error { return judge(key, v) }
	if then != nil {
		q.then = func() error { then(); return nil }
	}
	return q
}

// toAsk are the questions, in their order.
func (s *setup) toAsk() []question {
	always := func(v string) func() string { return func() string { return v } }
	upper := func(v *string) func() { return func() { *v = strings.ToUpper(*v) } }
	host := about("host", "Mail server, or server:port", &s.Host, s.hostOf, s.serverKnown)
	host.judge = s.judgeHost
	folder := func() string {
		if s.asker == nil {
			return "" // where mail goes is not guessed
		}
		return "/srv/inbound/" + fileName(s.Name)
	}
	return append([]question{
		about("username", "User name or address of the mailbox", &s.Username, nil, nil),
		about("name", "Name of the connection", &s.Name, s.nameOf, nil),
		about("store_type", "IMAP or POP3", &s.Store, always(string(mail.IMAP)), upper(&s.Store)),
		host,
		about("connection_security", "SSL_TLS, STARTTLS or NONE", &s.Security, s.securityOf, upper(&s.Security)),
		about("port", "Port", &s.Port, s.portOf, nil),
		about("folder", "Folder to save messages in", &s.Folder, folder, nil),
		about("disposition", "Saved messages on the server: KEEP, SEEN (mark as read) or DELETE", &s.Disposition, s.dispositionOf, upper(&s.Disposition)),
		about("max_messages", "Messages in one job: 1, or another number, or 0 for all that there are", &s.MaxMessages, always("1"), nil),
	}, s.secretsToAsk()...)
}

// secretsToAsk are the questions about what to log in with, and at last
// whether all is right.
func (s *setup) secretsToAsk() []question {
	said := func(text string) func() string { return func() string { return text } }
	return []question{
		{
			key: "client_id", answer: &s.ClientID, given: s.ClientID,
			wanted: func() bool { return s.asker != nil && s.tokens() && s.flags.PasswordFile == "" || s.ClientID != "" },
			text: func() string {
				if s.provider.only {
					return "Client ID of your OAuth client"
				}
				return "Client ID of your OAuth client (- for an app password)"
			},
			judge: func(v string) error {
				if v == "" || v == "-" && s.provider != nil && s.provider.only {
					return errors.New("missing; docs/providers.md says how to get one")
				}
				return nil
			},
		},
		{
			key: "client_secret", secret: true, text: said("Secret of the client"), answer: &s.clientSecret,
			wanted: func() bool {
				return s.asker != nil && s.byToken() && s.flags.ClientSecretFile == "" && s.provider.tokens == mail.Google
			},
			judge: func(v string) error { return judge("password", v) },
		},
		{
			key: "password", secret: true, text: said("Password"), answer: &s.password,
			wanted: func() bool { return s.asker != nil && !s.byToken() && s.flags.PasswordFile == "" },
			judge:  func(v string) error { return judge("password", v) },
		},
		{
			key: "agreed", text: said("Test the connection now, and write this down? (y/n)"), answer: &s.agreed,
			wanted: func() bool { return s.asker != nil && len(s.asked) > 0 },
			usual:  said("y"), judge: yesOrNo, before: s.summary,
			then: func() error {
				if !yes(s.agreed) {
					return &failedError{err: errGivenUp}
				}
				return nil
			},
		},
	}
}

// tokens reports whether the provider lets everybody log in with a token, and
// byToken whether this is what is wanted.
func (s *setup) tokens() bool  { return s.provider != nil && s.provider.tokens != "" }
func (s *setup) byToken() bool { return s.tokens() && s.ClientID != "" && s.ClientID != "-" }

// judgeHost judges a server, or a server and its port.
func (s *setup) judgeHost(v string) error {
	host, port := splitPort(v)
	if err := judge("host", host); err != nil || port == "" {
		return err
	}
	if flag := s.flags.Port; flag != "" && flag != port {
		return fmt.Errorf("port: found %s, and --port says %s", port, flag)
	}
	return judge("port", port)
}

// splitPort takes the port off a server; without one it is empty. An IPv6
// address with a port stands in brackets.
func splitPort(v string) (host, port string) {
	if host, port, err := net.SplitHostPort(v); err == nil {
		return host, port
	}
	if len(v) > 2 && v[0] == '[' && v[len(v)-1] == ']' {
		return v[1 : len(v)-1], ""
	}
	return v, ""
}

// serverKnown takes the port out of the server, and says what is known of it.
func (s *setup) serverKnown() {
	s.Host, s.hostPort = splitPort(s.Host)
	s.Port = cmp.Or(s.hostPort, s.Port)
	if s.provider = providerOf(s.Host, s.Username); s.provider != nil && s.asker != nil {
		fmt.Fprintf(s.stderr, "  This is %s: %s.\n", s.provider.name, s.provider.hint)
	}
}

// hostOf is the server of the provider that the address is of.
func (s *setup) hostOf() string {
	if p := providerOf("", s.Username); p != nil {
		return p.hosts[mail.StoreType(s.Store)]
	}
	return ""
}

// nameOf is a name made of the account's.
func (s *setup) nameOf() string {
	local, _, _ := strings.Cut(s.Username, "@")
	return fileName(local)
}

// securityOf is the security that the port stands for.
func (s *setup) securityOf() string {
	if port := cmp.Or(s.Port, s.hostPort); port == "143" || port == "110" {
		return string(mail.StartTLS)
	}
	return string(mail.SSLTLS)
}

// portOf is the port that was given with the host, or that the protocol has
// with this security.
func (s *setup) portOf() string {
	if s.hostPort != "" {
		return s.hostPort
	}
	secured, plain := 993, 143
	if s.Store == string(mail.POP3) {
		secured, plain = 995, 110
	}
	if s.Security == string(mail.SSLTLS) {
		return strconv.Itoa(secured)
	}
	return strconv.Itoa(plain)
}

func (s *setup) dispositionOf() string {
	if s.Store == string(mail.POP3) {
		return string(disposition.Delete)
	}
	return string(disposition.Keep)
}

// fileName is a text as the name of a file.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, ".")
}

// secrets says where what to log in with will be.
func (s *setup) secrets() error {
	// Nothing of what was said before a person went back is left.
	s.PasswordFile, s.ClientSecretFile = s.flags.PasswordFile, s.flags.ClientSecretFile
	s.Provider, s.Tenant, s.grant, s.passwordAt, s.clientAt = "", "", false, "", ""
	s.ClientID = strings.TrimPrefix(s.ClientID, "-")
	switch {
	case s.ClientID != "" && !s.tokens():
		return errors.New("init: --client-id is for Google and Microsoft; docs/providers.md has the block of another provider")
	case s.ClientID != "":
		s.grant = true
		s.Provider = string(s.provider.tokens)
		if s.provider.tokens == mail.Microsoft && personal(s.Username) {
			s.Tenant = "consumers"
		}
		if s.clientSecret == "" {
			return nil
		}
		s.clientAt = s.secretFile("-client")
		s.ClientSecretFile = s.clientAt
		return s.free(s.clientAt)
	case s.flags.PasswordFile != "":
		return nil
	case s.provider != nil && s.provider.only:
		return fmt.Errorf("init: %s takes no password: missing --client-id; docs/providers.md says how to get one", s.provider.name)
	case s.asker == nil:
		return errors.New("init: missing --password-file; without a terminal nothing is asked")
	}
	s.passwordAt = s.secretFile("")
	s.PasswordFile = s.passwordAt
	return s.free(s.passwordAt)
}

// secretFile is where a secret of the connection will be.
func (s *setup) secretFile(suffix string) string {
	return filepath.Join(filepath.Dir(s.path), "secrets", fileName(s.Name)+suffix)
}
