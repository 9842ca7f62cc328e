package config

import (
	"fmt"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// key is one key of a mapping: all that is known of it.
type key[T any] struct {
	name    string
	accepts string // for faults
	about   string // in one line, for the documentation
	secret  bool   // never shown
	later   bool   // accepted, but not supported by this version yet
	set     func(l *loader, n node, dst *T) error
	empty   func(l *loader, n node, dst *T) error // what an empty value means, where it does not mean the default
	show    func(*T) any                          // as it is in force; nil is left out
}

// The top level.
var topKeys = []key[file]{
	{
		name: "listen", about: "where metrics and health are served; \"\" for nowhere",
		accepts: `an address such as 127.0.0.1:9469, unix:/run/poller/poller.sock, or ""`,
		set:     text(func(f *file, s string) error { return listen(s, &f.Listen) }),
		empty:   func(_ *loader, _ node, f *file) error { f.Listen = ""; return nil },
		show:    func(f *file) any { return f.Listen },
	},
	{
		name: "state_dir", about: "where the daemon keeps what it has to remember",
		accepts: "an absolute path",
		set:     text(func(f *file, s string) error { return absolute(s, &f.StateDir) }),
		show:    func(f *file) any { return f.StateDir },
	},
	{
		name: "shutdown_grace", about: "how long polls in progress may take to finish the message at hand",
		accepts: "a duration up to 10m, such as 30s",
		set:     text(func(f *file, s string) error { return duration(s, 0, 10*time.Minute, &f.ShutdownGrace) }),
		show:    func(f *file) any { return f.ShutdownGrace.String() },
	},
	{
		name: "log", about: "how the log is written", accepts: "level and format",
		set:  func(l *loader, n node, f *file) error { decode(l, n, logKeys, &f.Log); return nil },
		show: func(f *file) any { return shown(logKeys, &f.Log) },
	},
	{
		name: "limits", about: "how many polls may be in progress at once", accepts: "polls and polls_per_host",
		set:  func(l *loader, n node, f *file) error { decode(l, n, limitKeys, &f.Limits); return nil },
		show: func(f *file) any { return shown(limitKeys, &f.Limits) },
	},
	{
		name: "ca_file", about: "roots that are trusted beside the system's, for every connection",
		accepts: "a file of PEM certificates",
		set:     func(l *loader, n node, f *file) error { return certificateFile(l, n, &f.caFile) },
		show:    func(f *file) any { return orNil(f.caFile) },
	},
	{
		name: "keys", about: "client certificates, by label", accepts: "a list of keys", later: true,
		set: list[file],
	},
	{
		name: "include", about: "files that hold one connection each",
		accepts: "a pattern of file names such as connections.d/*.yaml",
		set:     text(func(f *file, s string) error { f.include = s; return nil }),
	},
	{
		name: "defaults", about: "the defaults of every connection", accepts: "keys of a connection, other than name",
		set: func(_ *loader, n node, f *file) error {
			if n.Kind != 0 && n.found() != "a mapping" {
				return errNot
			}
			f.defaults = n
			return nil
		},
	},
	{
		name: "connections", about: "the connections", accepts: "a list of connections",
		set: func(_ *loader, n node, f *file) error {
			if n.found() != "a list" {
				return errNot
			}
			f.connections = n.items()
			return nil
		},
	},
}

var logKeys = []key[Log]{
	{
		name: "level", about: "the least level that is written", accepts: "debug, info, warn or error",
		set:  text(func(c *Log, s string) error { return oneOf(s, &c.Level, "debug", "info", "warn", "error") }),
		show: func(c *Log) any { return c.Level },
	},
	{
		name: "format", about: "auto is console on a terminal and JSON elsewhere", accepts: "auto, json or console",
		set:  text(func(c *Log, s string) error { return oneOf(s, &c.Format, "auto", "json", "console") }),
		show: func(c *Log) any { return c.Format },
	},
}

var limitKeys = []key[Limits]{
	{
		name: "polls", about: "in all", accepts: "1 to 100000",
		set:  text(func(c *Limits, s string) error { return number(s, 1, 100_000, &c.Polls) }),
		show: func(c *Limits) any { return c.Polls },
	},
	{
		name: "polls_per_host", about: "with one host", accepts: "1 to 100000",
		set:  text(func(c *Limits, s string) error { return number(s, 1, 100_000, &c.PollsPerHost) }),
		show: func(c *Limits) any { return c.PollsPerHost },
	},
}

// enabledOrNot is what a switch accepts.
const enabledOrNot = "ENABLED or DISABLED"

// connectionKeys are those of a connection, in the order of the documentation.
var connectionKeys = []key[draft]{
	{
		name: "name", about: "names the connection in files, logs, metrics and commands",
		accepts: `1 to 128 characters, unique, without blanks, control characters and ' " |`,
		set:     text(func(d *draft, s string) error { return connectionName(s, &d.Name) }),
		show:    func(d *draft) any { return d.Name },
	},
	{
		name: "description", about: "for people", accepts: "up to 2048 characters",
		set:  text(func(d *draft, s string) error { return upTo(s, 2048, &d.Description) }),
		show: func(d *draft) any { return orNil(d.Description) },
	},
	{
		name: "status", about: "a disabled connection is validated and listed, and never polled", accepts: enabledOrNot,
		set:  text(func(d *draft, s string) error { return enabled(s, &d.Enabled) }),
		show: func(d *draft) any { return onOff(d.Enabled) },
	},
	{
		name: "host", about: "the mail server", accepts: "an IPv4 or IPv6 address, or a host name",
		set:  text(func(d *draft, s string) error { return host(s, &d.Host) }),
		show: func(d *draft) any { return d.Host },
	},
	{
		name: "port", about: "usually 993 (IMAP) or 995 (POP3) for SSL_TLS, 143 or 110 otherwise", accepts: "1 to 65535",
		set:  text(func(d *draft, s string) error { return number(s, 1, 65535, &d.Port) }),
		show: func(d *draft) any { return d.Port },
	},
	{
		name: "username", about: "the account", accepts: "up to 320 characters",
		set:  text(func(d *draft, s string) error { return upTo(s, 320, &d.Username) }),
		show: func(d *draft) any { return orNil(d.Username) },
	},
	{
		name: "password", about: "the secret, or better where it comes from", secret: true,
		accepts: "the secret itself, or one of {file: PATH}, {env: NAME}, {command: [ARGV...]}, {credential: NAME}",
		set:     func(l *loader, n node, d *draft) error { return secret(l, n, &d.Password) },
		show:    func(d *draft) any { return showSecret(d.Password) },
	},
	{
		name: "match_server_hostname", about: "the certificate has to be valid for host", accepts: enabledOrNot,
		set:  text(func(d *draft, s string) error { return enabled(s, &d.TLS.MatchHostname) }),
		show: func(d *draft) any { return onOff(d.TLS.MatchHostname) },
	},
	{
		name: "client_key_label", about: "the key whose certificate is presented to the server", accepts: "a label out of keys:", later: true,
		set: text(func(*draft, string) error { return nil }),
	},
	{
		name: "ssl_authentication_protocol", about: "the TLS versions that are accepted", later: true,
		accepts: "ALL, or a list out of SSLv3, TLSv1, TLSv1_1, TLSv1_2, TLSv1_3, SSLv2Hello",
		set: words[draft](func(s string) error {
			var known string
			return oneOf(s, &known, "ALL", "SSLv3", "TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3", "SSLv2Hello")
		}),
	},
	{
		name: "accepted_cipher_suites", about: "the TLS cipher suites that are accepted", later: true,
		accepts: "ALL, or a list of suite names",
		set:     words[draft](func(string) error { return nil }),
	},
	{
		name: "store_type", about: "the protocol", accepts: "IMAP or POP3",
		set:  text(func(d *draft, s string) error { return oneOf(s, &d.Store, mail.IMAP, mail.POP3) }),
		show: func(d *draft) any { return d.Store },
	},
	{
		name: "folder", about: "where messages are saved; it has to exist", accepts: "an absolute path",
		set:  text(func(d *draft, s string) error { return absolute(s, &d.Folder) }),
		show: func(d *draft) any { return d.Folder },
	},
	{
		name: "connection_security", about: "how the connection is protected", accepts: "SSL_TLS, STARTTLS or NONE",
		set:  text(func(d *draft, s string) error { return oneOf(s, &d.Security, mail.SSLTLS, mail.StartTLS, mail.NoTLS) }),
		show: func(d *draft) any { return d.Security },
	},
	{
		name: "disposition", about: "what becomes of a saved message on the server; the default is KEEP for IMAP and DELETE for POP3",
		accepts: "DELETE, KEEP or SEEN",
		set:     text(func(d *draft, s string) error { return oneOf(s, &d.Dispose, disposition.Dispositions()...) }),
		show:    func(d *draft) any { return d.Dispose },
	},
	{
		name: "pull_disposition", about: "which message is taken: first is the oldest, last the newest",
		accepts: "GET_FIRST_MESSAGE, GET_FIRST_UNREAD_MESSAGE, GET_LAST_MESSAGE or GET_LAST_UNREAD_MESSAGE",
		set: text(func(d *draft, s string) (err error) {
			pull, err := disposition.ParsePull(s)
			if err != nil {
				return errNot
			}
			d.Pull = pull
			return nil
		}),
		show: func(d *draft) any { return d.Pull.String() },
	},
	{
		name: "max_retries", about: "how often a failed attempt is tried again; 0 for never", accepts: "0 to 1000000",
		set:   text(func(d *draft, s string) error { return number(s, 0, 1_000_000, &d.Retry.Max) }),
		empty: func(_ *loader, _ node, d *draft) error { d.Retry.Max = 0; return nil },
		show:  func(d *draft) any { return d.Retry.Max },
	},
	{
		name: "retry_interval", about: "between two attempts; 0 for no retry", accepts: "seconds, or a duration such as 30s, up to 24h",
		set:   text(func(d *draft, s string) error { return duration(s, 0, 24*time.Hour, &d.Retry.Interval) }),
		empty: func(_ *loader, _ node, d *draft) error { d.Retry.Interval = 0; return nil },
		show:  func(d *draft) any { return d.Retry.Interval.String() },
	},
	{
		name: "schedule", about: "when to poll", accepts: `five or six cron fields, @hourly, @daily, @weekly, @monthly, or "@every 1m"`,
		set:  text(func(d *draft, s string) error { return schedule(s, &d.Schedule) }),
		show: func(d *draft) any { return d.Schedule },
	},
	{
		name: "mailbox", about: "the mailbox to read, IMAP only", accepts: "the name of a mailbox, without control characters, up to 1024 characters",
		set: text(func(d *draft, s string) error { return mailboxName(s, &d.Mailbox) }),
		show: func(d *draft) any {
			if d.Store == mail.POP3 {
				return nil
			}
			return d.Mailbox
		},
	},
	{
		name: "max_messages", about: "messages taken in one poll; 0 takes all that match", accepts: "0 to 1000000",
		set:  text(func(d *draft, s string) error { return number(s, 0, 1_000_000, &d.MaxMessages) }),
		show: func(d *draft) any { return d.MaxMessages },
	},
	{
		name: "max_message_size", about: "a larger message is left alone; 0 for no limit", accepts: "octets, or a size such as 25MiB",
		set:  text(func(d *draft, s string) error { return size(s, &d.MaxMessageSize) }),
		show: func(d *draft) any { return d.MaxMessageSize },
	},
	{
		name: "timeout", about: "the longest silence on the wire", accepts: "a duration from 1s to 1h, such as 30s",
		set:  text(func(d *draft, s string) error { return duration(s, time.Second, time.Hour, &d.Timeout) }),
		show: func(d *draft) any { return d.Timeout.String() },
	},
	{
		name: "poll_timeout", about: "the bound on one attempt", accepts: "a duration from 1s to 24h, such as 10m",
		set:  text(func(d *draft, s string) error { return duration(s, time.Second, 24*time.Hour, &d.PollTimeout) }),
		show: func(d *draft) any { return d.PollTimeout.String() },
	},
	{
		name: "back_off", about: "whether a connection that keeps failing is polled less often", accepts: enabledOrNot,
		set:  text(func(d *draft, s string) error { return enabled(s, &d.BackOff) }),
		show: func(d *draft) any { return onOff(d.BackOff) },
	},
	{
		name: "auth", about: "how to log in; AUTO is the strongest that server and secret allow",
		accepts: "AUTO, PLAIN, LOGIN, CRAM_MD5, APOP, XOAUTH2, OAUTHBEARER or EXTERNAL",
		set:     auth,
		show:    func(d *draft) any { return d.Auth },
	},
	{
		name: "ca_file", about: "roots that are trusted beside the system's", accepts: "a file of PEM certificates",
		set:  func(l *loader, n node, d *draft) error { return certificateFile(l, n, &d.caFile) },
		show: func(d *draft) any { return orNil(d.caFile) },
	},
	{
		name: "oauth2", about: "how to get a token instead of a password", accepts: "settings of OAuth 2.0", later: true, secret: true,
		set: func(*loader, node, *draft) error { return nil },
	},
	{
		name: "proxy", about: "what to connect through", accepts: "a socks5:// or http:// URL", later: true, secret: true,
		set: text(func(_ *draft, s string) error { return proxy(s) }),
	},
	{
		name: "filename", about: "a template of file names", accepts: "a Go template", later: true,
		set: text(func(*draft, string) error { return nil }),
	},
	{
		name: "format", about: "how messages are laid out in the folder", accepts: "EML, MAILDIR or ATTACHMENTS",
		set: text(func(_ *draft, s string) error {
			var format string
			err := oneOf(s, &format, "EML", "MAILDIR", "ATTACHMENTS")
			if err == nil && format != "EML" {
				err = fmt.Errorf("which is not supported by this version yet")
			}
			return err
		}),
		show: func(*draft) any { return "EML" },
	},
	{
		name: "metadata", about: "whether a JSON file describes each message", accepts: "true or false",
		set: text(func(_ *draft, s string) error {
			var value string
			err := oneOf(s, &value, "true", "false")
			if err == nil && value == "true" {
				err = fmt.Errorf("which is not supported by this version yet")
			}
			return err
		}),
		show: func(*draft) any { return false },
	},
	{
		name: "file_mode", about: "the mode of the files", accepts: `an octal mode such as "0640"`,
		set:  text(func(d *draft, s string) error { return mode(s, 0o400, &d.FileMode) }),
		show: func(d *draft) any { return fmt.Sprintf("%04o", d.FileMode) },
	},
	{
		name: "dir_mode", about: "the mode of directories that are made in the folder", accepts: `an octal mode such as "0750"`,
		set:  text(func(d *draft, s string) error { return mode(s, 0o700, &d.DirMode) }),
		show: func(d *draft) any { return fmt.Sprintf("%04o", d.DirMode) },
	},
}

// defaultKeys are those that a defaults: block may have.
func defaultKeys() []key[draft] {
	keys := make([]key[draft], 0, len(connectionKeys))
	for _, k := range connectionKeys {
		if k.name == "name" {
			k.set = func(*loader, node, *draft) error { return fmt.Errorf("but every connection has a name of its own") }
			k.accepts = "any other key of a connection"
		}
		keys = append(keys, k)
	}
	return keys
}
