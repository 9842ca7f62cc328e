package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
	"golang.org/x/net/idna"

	"mailpoller/internal/cronspec"
	"mailpoller/internal/disposition"
)

// kind is a kind of value: what it may be, how it is read, and how it is
// spelled.
type kind[V any] struct {
	accepts string // for faults and documentation
	schema  schema // for editors
	secret  bool   // a fault does not repeat what was found
	blank   bool   // an empty value is a value, and not the default
	set     func(l *loader, n node, dst *V) error
	show    func(V) any // nil is not shown, and a kind without it never
}

// scalar is a kind of values that are one text.
func scalar[V any](accepts string, s schema, parse func(string) (V, error), show func(V) any) kind[V] {
	return kind[V]{accepts: accepts, schema: s, show: show, set: func(_ *loader, n node, dst *V) error {
		s, err := n.text()
		if err != nil {
			return err
		}
		v, err := parse(s)
		if err == nil {
			*dst = v
		}
		return err
	}}
}

// text is the value of a scalar as it is written, also where YAML would take
// it for a number or a date.
func (n node) text() (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", errNot
	}
	if sign := n.sign(); sign != 0 {
		return "", verdict{errors.New(quoteIt("", sign))}
	}
	if !utf8.ValidString(n.Value) {
		return "", errors.New("which is not UTF-8")
	}
	if n.empty() {
		return "", nil
	}
	return n.Value, nil
}

func asIs[V any](v V) any { return v }

// unlessEmpty shows a text where there is one.
func unlessEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// orEmpty is a kind whose zero value can be written as an empty one.
func orEmpty[V any](k kind[V]) kind[V] {
	set := k.set
	k.blank = true
	k.set = func(l *loader, n node, dst *V) error {
		if n.empty() {
			var zero V
			*dst = zero
			return nil
		}
		return set(l, n, dst)
	}
	return k
}

// choice is one of some words, in any case.
func choice[V ~string](values ...V) kind[V] {
	all, spelled := make([]any, len(values)), make([]string, len(values))
	for i, v := range values {
		all[i], spelled[i] = v, string(v)
	}
	return scalar(either(spelled), words(all...), func(s string) (V, error) {
		for _, v := range values {
			if strings.EqualFold(s, string(v)) {
				return v, nil
			}
		}
		return "", errNot
	}, asIs)
}

// switched is a kind of two words, of which the first is true.
func switched(on, off string) kind[bool] {
	word := choice(on, off)
	return kind[bool]{
		accepts: word.accepts,
		schema:  word.schema,
		set: func(l *loader, n node, dst *bool) error {
			var s string
			err := word.set(l, n, &s)
			*dst = s == on
			return err
		},
		show: func(v bool) any {
			if v {
				return on
			}
			return off
		},
	}
}

func enabled() kind[bool] { return switched("ENABLED", "DISABLED") }

func boolean() kind[bool] {
	k := switched("true", "false")
	k.schema, k.show = words(true, false), asIs
	return k
}

func number(least, most int) kind[int] {
	return scalar(fmt.Sprintf("%d to %d", least, most), numbers(int64(least), int64(most), `[+-]?[0-9]+`), func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, errNot
		}
		return n, nil
	}, asIs)
}

func duration(least, most time.Duration) kind[time.Duration] {
	accepts := fmt.Sprintf("seconds, or a duration such as 30s or 5m, from %s to %s", short(least), short(most))
	s := numbers(int64(least/time.Second), int64(most/time.Second), `[0-9]+|[+-]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)`)
	return scalar(accepts, s, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if seconds, e := strconv.ParseUint(s, 10, 32); e == nil {
			d, err = time.Duration(seconds)*time.Second, nil
		}
		if err != nil || d < least || d > most {
			return 0, errNot
		}
		return d, nil
	}, func(d time.Duration) any { return short(d) })
}

// short spells a duration without the zeros behind its last part.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// units are the suffixes of sizes; the longer of two that end alike first.
var units = []struct {
	suffix string
	octets int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}}

func size() kind[int64] {
	const most = 1 << 40
	return scalar("octets, or a size such as 25MiB (KiB, MiB, GiB, KB, MB, GB), up to 1024GiB", numbers(0, most, `[+-]?[0-9]+\s*([KkMmGg][Ii]?[Bb])?`), func(s string) (int64, error) {
		factor := int64(1)
		for _, u := range units {
			if digits := len(s) - len(u.suffix); digits > 0 && strings.EqualFold(s[digits:], u.suffix) {
				s, factor = strings.TrimSpace(s[:digits]), u.octets
				break
			}
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n > most/factor {
			return 0, errNot
		}
		return n * factor, nil
	}, asIs)
}

// mode is a kind of file modes; needed is what the owner needs to work.
func mode(needed fs.FileMode) kind[fs.FileMode] {
	accepts := fmt.Sprintf(`an octal mode up to "0777" that includes "%04o"`, needed)
	s := only(object{"type": []string{"integer", "string", "null"}, "pattern": fmt.Sprintf("^(0*[%o-7][0-7][0-7])?$", needed>>6)})
	return scalar(accepts, s, func(s string) (fs.FileMode, error) {
		n, err := strconv.ParseUint(s, 8, 32)
		if m := fs.FileMode(n); err == nil && m <= fs.ModePerm && m&needed == needed {
			return m, nil
		}
		return 0, errNot
	}, func(m fs.FileMode) any { return fmt.Sprintf("%04o", m) })
}

// text is a kind of texts of at most so many characters.
func text(most int) kind[string] {
	return scalar(fmt.Sprintf("up to %d characters", most), only(object{"type": written, "maxLength": most}), func(s string) (string, error) {
		if n := utf8.RuneCountInString(s); n > most {
			return "", fmt.Errorf("which has %d characters", n)
		}
		return s, nil
	}, unlessEmpty)
}

// line is a text without control characters: they would end a command to the
// server, or a line of the log.
func line(most int) kind[string] {
	return with(text(most), ", no control characters", printed+`*`, func(s string) error {
		if strings.ContainsFunc(s, unicode.IsControl) {
			return errors.New("which has a control character in it")
		}
		return nil
	})
}

func connectionName() kind[string] {
	k := with(line(128), "", `[^\s'"|`+control+`]+`, func(s string) error {
		for _, r := range s {
			switch {
			case unicode.IsSpace(r):
				return errors.New("which has a blank in it")
			case strings.ContainsRune(`'"|`, r):
				return fmt.Errorf("which has %c in it", r)
			}
		}
		return nil
	})
	k.accepts = `1 to 128 characters, without blanks, control characters and any of ' " |`
	return k
}

// with is a kind of texts that have to pass one check more, which the pattern
// says as far as one can.
func with(k kind[string], accepts, pattern string, check func(string) error) kind[string] {
	set := k.set
	k.accepts += accepts
	k.schema = k.schema.and(object{"pattern": "^" + pattern + "$"})
	k.set = func(l *loader, n node, dst *string) error {
		var s string
		err := set(l, n, &s)
		if err == nil {
			err = check(s)
		}
		if err == nil {
			*dst = s
		}
		return err
	}
	return k
}

func path() kind[string] {
	return scalar("an absolute path", texts(`/`+printed+`*`), func(s string) (string, error) {
		switch {
		case !filepath.IsAbs(s):
			return "", errors.New("which is not absolute")
		case strings.ContainsFunc(s, unicode.IsControl):
			return "", errors.New("which has a control character in it")
		}
		return filepath.Clean(s), nil
	}, unlessEmpty)
}

// certificates is the path of a file that holds some.
func certificates() kind[string] {
	k := path()
	set := k.set
	k.accepts += " of a file of PEM certificates"
	k.set = func(l *loader, n node, dst *string) error {
		var file string
		if err := set(l, n, &file); err != nil {
			return err
		}
		if _, err := l.trusted(file); err != nil {
			return fmt.Errorf("which cannot be used (%w)", err)
		}
		*dst = file
		return nil
	}
	return k
}

// isLabel reports whether s is a part of a host name: up to 63 letters of any
// script, digits, and hyphens inside. Underscores occur in practice. As a
// regular expression it would cost every command 2 ms to begin with.
func isLabel(s string) bool {
	if s == "" || utf8.RuneCountInString(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i, r := range s {
		inside := r == '-' || unicode.IsMark(r)
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '_' && (!inside || i == 0) {
			return false
		}
	}
	return true
}

// digits are what only an address may end in (RFC 3696, section 2).
var digits = regexp.MustCompile(`(^|\.)[0-9]+$`)

func host() kind[string] {
	s := only(object{"type": written, "pattern": `^(\[[^\s\]]+\]|[^\s/@\[\]]*:[^\s/@\[\]]*:[^\s/@\[\]]*|[^\s:/@\[\]]*)$`})
	return scalar("an IPv4 or IPv6 address, or a host name", s, func(s string) (string, error) {
		address := s
		if inside, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inside, "]") {
			address = strings.TrimSuffix(inside, "]")
		}
		if _, err := netip.ParseAddr(address); err == nil {
			return address, nil
		}
		name := strings.TrimSuffix(s, ".")
		if len(name) > 253 || digits.MatchString(name) {
			return "", errNot
		}
		for part := range strings.SplitSeq(name, ".") {
			if !isLabel(part) {
				return "", errNot
			}
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) { // as the DNS and certificates have it (RFC 5891)
			ascii, err := idna.Lookup.ToASCII(s)
			if err != nil {
				return "", fmt.Errorf("it has no form in ASCII, as host names of other scripts need one: %w", err)
			}
			return ascii, nil
		}
		return s, nil
	}, asIs)
}

const inbox = "INBOX"

// mailbox is the name of one. INBOX is INBOX in any case (RFC 9051, section
// 5.1), and spelled alike it is one account to the journal.
func mailbox() kind[string] {
	k := line(1024)
	set := k.set
	k.set = func(l *loader, n node, dst *string) error {
		err := set(l, n, dst)
		if strings.EqualFold(*dst, inbox) {
			*dst = inbox
		}
		return err
	}
	return k
}

func listen() kind[string] {
	return scalar(`HOST:PORT, unix:/PATH, or "" for none`, texts(`unix:/.*|.*:[0-9]{1,5}`), func(s string) (string, error) {
		if socket, ok := strings.CutPrefix(s, "unix:"); ok {
			if !filepath.IsAbs(socket) {
				return "", errors.New("which is not absolute")
			}
			return s, nil
		}
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", errNot
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", errNot
		}
		return s, nil
	}, asIs)
}

func schedule() kind[string] {
	s := texts(`\s*((CRON_)?TZ=\S+\s+)?(@\S.*|\S+(\s+\S+){4,5})\s*`)
	return scalar(cronspec.Accepted, s, func(s string) (string, error) {
		if _, err := cronspec.Parse(s); err != nil {
			return "", verdict{err}
		}
		return s, nil
	}, asIs)
}

func pull() kind[disposition.Pull] {
	all := disposition.Pulls()
	values, spelled := make([]any, len(all)), make([]string, len(all))
	for i, p := range all {
		values[i], spelled[i] = p.String(), p.String()
	}
	return scalar(either(spelled), words(values...), func(s string) (disposition.Pull, error) {
		p, err := disposition.ParsePull(s)
		if err != nil {
			return p, errNot
		}
		return p, nil
	}, func(p disposition.Pull) any { return p.String() })
}

// pattern is a pattern of file names.
func pattern() kind[string] {
	return scalar("a pattern of file names such as connections.d/*.yaml", only(object{"type": written}), func(s string) (string, error) {
		if _, err := filepath.Match(s, ""); err != nil {
			return "", errNot
		}
		return s, nil
	}, nil)
}

// raw is a node of some shape that is read later.
func raw(accepts string, s schema, shape yaml.Kind) kind[node] {
	return kind[node]{accepts: accepts, schema: orNothing(s), set: func(_ *loader, n node, dst *node) error {
		if n.Kind != shape {
			return errNot
		}
		*dst = n
		return nil
	}}
}

// mapping is a kind of values that have keys of their own.
func mapping[T any](name string, keys []key[T]) kind[T] {
	return kind[T]{
		accepts: "a mapping with the keys " + strings.Join(names(keys), ", "),
		schema:  orNothing(ref(name)),
		set: func(l *loader, n node, dst *T) error {
			if n.Kind != yaml.MappingNode {
				return errNot
			}
			decode(l, n, keys, dst)
			return nil
		},
		show: func(v T) any { return shown(keys, &v) },
	}
}
