package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mailpoller/internal/cronspec"
	"mailpoller/internal/mail"
)

// text makes a key's setter out of a parser of scalars.
func text[T any](parse func(dst *T, s string) error) func(*loader, node, *T) error {
	return func(_ *loader, n node, dst *T) error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		return parse(dst, s)
	}
}

// words makes a key's setter out of a parser of each word of a list. One word
// alone is a list too, and so are several with commas between them.
func words[T any](parse func(string) error) func(*loader, node, *T) error {
	return func(_ *loader, n node, _ *T) error {
		for _, item := range n.list() {
			s, err := scalar(item)
			if err == nil {
				err = parse(s)
			}
			if err != nil {
				return fmt.Errorf("of which %s is not accepted", item.found())
			}
		}
		return nil
	}
}

func (n node) list() []node {
	if n.found() == "a list" {
		return n.items()
	}
	return []node{n}
}

func list[T any](_ *loader, n node, _ *T) error {
	if n.found() != "a list" {
		return errNot
	}
	return nil
}

func scalar(n node) (string, error) {
	if f := n.found(); f == "a list" || f == "a mapping" {
		return "", errNot
	}
	if !utf8.ValidString(n.Value) {
		return "", errors.New("which is not UTF-8")
	}
	return n.Value, nil
}

// oneOf finds a value among those accepted, in any case.
func oneOf[S ~string](s string, dst *S, accepted ...S) error {
	for _, a := range accepted {
		if strings.EqualFold(s, string(a)) {
			*dst = a
			return nil
		}
	}
	return errNot
}

func enabled(s string, dst *bool) error {
	var state string
	err := oneOf(s, &state, "ENABLED", "DISABLED")
	*dst = state == "ENABLED"
	return err
}

func onOff(on bool) string {
	if on {
		return "ENABLED"
	}
	return "DISABLED"
}

// orNil leaves an empty text out of what is shown.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func number(s string, least, most int, dst *int) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return errNot
	}
	*dst = n
	return nil
}

func duration(s string, least, most time.Duration, dst *time.Duration) error {
	d, err := time.ParseDuration(s)
	if seconds, e := strconv.ParseUint(s, 10, 32); e == nil {
		d, err = time.Duration(seconds)*time.Second, nil //nolint:gosec // G115: 32 bits of seconds fit
	}
	if err != nil || d < least || d > most {
		return errNot
	}
	*dst = d
	return nil
}

var units = []struct {
	suffix string
	octets int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}}

const maxSize = 1 << 50

func size(s string, dst *int64) error {
	digits, factor := s, int64(1)
	for _, u := range units {
		if n := len(s) - len(u.suffix); n > 0 && strings.EqualFold(s[n:], u.suffix) {
			digits, factor = strings.TrimSpace(s[:n]), u.octets
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > maxSize/factor {
		return errNot
	}
	*dst = n * factor
	return nil
}

func upTo(s string, most int, dst *string) error {
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Errorf("which has %d characters", n)
	}
	*dst = s
	return nil
}

func connectionName(s string, dst *string) error {
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			return errors.New("which has a blank in it")
		case unicode.IsControl(r):
			return errors.New("which has a control character in it")
		case strings.ContainsRune(`'"|`, r):
			return fmt.Errorf("which has %c in it", r)
		}
	}
	return upTo(s, 128, dst)
}

func mailboxName(s string, dst *string) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("which has a control character in it")
	}
	return upTo(s, 1024, dst)
}

func absolute(s string, dst *string) error {
	if !filepath.IsAbs(s) {
		return errors.New("which is not absolute")
	}
	if strings.ContainsRune(s, 0) {
		return errNot
	}
	*dst = filepath.Clean(s)
	return nil
}

// hostLabel is a part of a host name: letters of any script, digits, and
// hyphens inside. Underscores occur in practice.
var hostLabel = regexp.MustCompile(`^[\pL\pN_]([\pL\pM\pN_-]{0,61}[\pL\pM\pN_])?$`)

// allDigits are what a name made of nothing else can only mean: an address
// with a slip in it.
var allDigits = regexp.MustCompile(`^[0-9.]+$`)

func host(s string, dst *string) error {
	address := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if _, err := netip.ParseAddr(address); err == nil {
		*dst = address
		return nil
	}
	if len(s) > 253 || allDigits.MatchString(s) {
		return errNot
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !hostLabel.MatchString(label) {
			return errNot
		}
	}
	*dst = s
	return nil
}

func listen(s string, dst *string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return errors.New("which is no absolute path of a socket")
		}
		*dst = s
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return errNot
	}
	var n int
	if err := number(port, 0, 65535, &n); err != nil {
		return errNot
	}
	*dst = s
	return nil
}

func schedule(s string, dst *string) error {
	spec, err := cronspec.Parse(s)
	if err != nil {
		return fmt.Errorf("which is refused: %w", err)
	}
	*dst = spec.String()
	return nil
}

// mode parses an octal mode. The owner has to have what is needed to work.
func mode(s string, needed fs.FileMode, dst *fs.FileMode) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return errNot
	}
	if fs.FileMode(n)&needed != needed {
		return fmt.Errorf("which keeps the owner out")
	}
	*dst = fs.FileMode(n)
	return nil
}

func proxy(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "socks5" && u.Scheme != "http" {
		return errNot
	}
	return nil
}

func auth(_ *loader, n node, d *draft) error {
	s, err := scalar(n)
	if err != nil {
		return err
	}
	err = oneOf(s, &d.Auth, mail.AuthAuto, mail.AuthPlain, mail.AuthLogin, mail.AuthCramMD5,
		mail.AuthAPOP, mail.AuthXOAuth2, mail.AuthOAuthBearer, mail.AuthExternal)
	switch d.Auth {
	case mail.AuthAuto, mail.AuthPlain, mail.AuthLogin:
		return err
	}
	return errors.New("which is not supported by this version yet")
}

func certificateFile(l *loader, n node, dst *string) error {
	s, err := scalar(n)
	if err != nil {
		return err
	}
	if err := absolute(s, dst); err != nil {
		return err
	}
	if r := l.certificates(*dst); r.err != nil {
		return fmt.Errorf("which cannot be used: %w", reason(r.err))
	}
	return nil
}

// secretKeys are the sources of a secret.
var secretKeys = []key[mail.SecretSource]{
	{
		name: "file", accepts: "an absolute path",
		set: text(func(d *mail.SecretSource, s string) error { return absolute(s, &d.File) }),
	},
	{
		name: "env", accepts: "the name of an environment variable",
		set: text(func(d *mail.SecretSource, s string) error { d.Env = s; return nil }),
	},
	{
		name: "credential", accepts: "the name of a systemd credential",
		set: text(func(d *mail.SecretSource, s string) error {
			if strings.ContainsAny(s, "/\x00") || s == "." || s == ".." {
				return errNot
			}
			d.Credential = s
			return nil
		}),
	},
	{
		name: "command", accepts: "a list of a program and its arguments",
		set: func(_ *loader, n node, d *mail.SecretSource) error {
			if n.found() != "a list" {
				return errNot
			}
			for _, item := range n.items() {
				s, err := scalar(item)
				if err != nil || strings.ContainsRune(s, 0) {
					return errNot
				}
				d.Command = append(d.Command, s)
			}
			if len(d.Command) == 0 || d.Command[0] == "" {
				return errNot
			}
			return nil
		},
	},
}

// secret reads a secret or the name of its source.
func secret(l *loader, n node, dst *mail.SecretSource) error {
	*dst = mail.SecretSource{}
	if n.found() == "a list" {
		return errNot
	}
	if n.found() != "a mapping" {
		s, err := scalar(n)
		if err == nil && strings.ContainsAny(s, "\r\n\x00") {
			err = errors.New("which has a line break in it")
		}
		dst.Literal = mail.NewSecret(s)
		return err
	}
	before := len(l.faults)
	at := decode(l, n, secretKeys, dst)
	switch {
	case len(l.faults) > before:
		return errReported
	case len(at) != 1 || dst.IsZero():
		return errNot
	}
	return nil
}

func showSecret(s mail.SecretSource) any {
	switch {
	case s.IsZero():
		return nil
	case s.File != "":
		return map[string]any{"file": s.File}
	case s.Env != "":
		return map[string]any{"env": s.Env}
	case s.Credential != "":
		return map[string]any{"credential": s.Credential}
	case len(s.Command) > 0:
		return map[string]any{"command": s.Command}
	}
	return s.Literal.String()
}
