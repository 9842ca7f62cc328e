package config

import (
	"io/fs"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/disposition"
	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
	"mailpoller/internal/match"
)

// key is one key of a mapping: all that is known of it.
type key[T any] struct {
	name    string
	about   string // in one line, for the documentation
	accepts string
	schema  schema
	secret  bool // a fault does not repeat what was found
	blank   bool // an empty value is a value, and not the default
	set     func(l *loader, n node, dst *T) error
	show    func(src *T) any // nil is not shown
}

// of is the key of a field.
func of[T, V any](name, about string, k kind[V], field func(*T) *V) key[T] {
	return key[T]{
		name: name, about: about, accepts: k.accepts, schema: k.schema, secret: k.secret, blank: k.blank,
		set: func(l *loader, n node, dst *T) error { return k.set(l, n, field(dst)) },
		show: func(src *T) any {
			if k.show == nil {
				return nil
			}
			return k.show(*field(src))
		},
	}
}

// Upper bounds, so that sums and products of settings do not overflow.
const (
	day  = 24 * time.Hour
	most = 1_000_000
)

// topKeys are those of the top level, in the order of the documentation.
var topKeys = []key[top]{
	of("listen", "where metrics, health and the API are served over HTTP", orEmpty(listen()), func(t *top) *string { return &t.Listen }),
	of("state_dir", "where the daemon keeps what must survive a restart; by default $STATE_DIRECTORY, else /var/lib/poller", path(), func(t *top) *string { return &t.StateDir }),
	of("shutdown_grace", "how long polls in progress may take to finish the message at hand", duration(0, day), func(t *top) *time.Duration { return &t.ShutdownGrace }),
	of("log", "how the log is written", mapping("log", logKeys), func(t *top) *Log { return &t.Log }),
	of("limits", "how many polls are in progress at once", mapping("limits", limitKeys), func(t *top) *Limits { return &t.Limits }),
	of("profiling", "whether /debug/pprof/ is served where only this machine reaches the listener", enabled(), func(t *top) *bool { return &t.Profiling }),
	of("metrics_per_connection", "whether each connection has metrics of its own; else they are of all together", enabled(), func(t *top) *bool { return &t.MetricsPerConnection }),
	of("tracing", "where spans of polls go", tracing(), func(t *top) *Tracing { return &t.Tracing }),
	of("ca_file", "roots that are trusted beside the system's, by every connection", certificates(), func(t *top) *string { return &t.caFile }),
	of("api_tokens", "what programs show to use the API; docs/api.md", apiTokens(), func(t *top) *[]APIToken { return &t.APITokens }),
	of("keys", "client certificates, which client_key_label names", clientKeys(), func(t *top) *[]mail.ClientKey { return &t.Keys }),
	of("include", "files that hold one connection each, relative to this file", pattern(), func(t *top) *string { return &t.include }),
	of("defaults", "keys of a connection that hold for every one which does not say otherwise", raw("a mapping with the keys of a connection, other than name", ref("defaults"), yaml.MappingNode), func(t *top) *node { return &t.defaults }),
	of("connections", "the connections", raw("a list of connections", list(ref("connection")), yaml.SequenceNode), func(t *top) *node { return &t.connections }),
}

var logKeys = []key[Log]{
	of("level", "the least level that is written", choice("debug", "info", "warn", "error"), func(c *Log) *string { return &c.Level }),
	of("format", "auto is console on a terminal and JSON elsewhere", choice("auto", "json", "console"), func(c *Log) *string { return &c.Format }),
	of("headers", "whether the line of a saved message has its sender and subject", enabled(), func(c *Log) *bool { return &c.Headers }),
}

var limitKeys = []key[Limits]{
	of("polls", "with all servers together", number(1, 10_000), func(c *Limits) *int { return &c.Polls }),
	of("polls_per_host", "with one server", number(1, 10_000), func(c *Limits) *int { return &c.PollsPerHost }),
}

// connectionKeys are those of a connection, in the order of the documentation.
var connectionKeys = []key[settings]{
	of("name", "what the connection is called in commands, logs, metrics and file names; unique", connectionName(), func(s *settings) *string { return &s.Name }),
	of("description", "for people", text(2048), func(s *settings) *string { return &s.Description }),
	of("status", "a disabled connection is validated and listed, and never polled", enabled(), func(s *settings) *bool { return &s.Enabled }),
	of("host", "the mail server", host(), func(s *settings) *string { return &s.Host }),
	of("port", "993 (IMAP) or 995 (POP3) as a rule for SSL_TLS, else 143 or 110", number(1, 65535), func(s *settings) *int { return &s.Port }),
	of("username", "the account", line(320), func(s *settings) *string { return &s.Username }),
	of("password", "its secret, or better where it comes from", secret(), func(s *settings) *mail.SecretSource { return &s.Password }),
	of("match_server_hostname", "whether the server's certificate has to be valid for host", enabled(), func(s *settings) *bool { return &s.TLS.MatchHostname }),
	of("client_key_label", "the key whose certificate is presented to the server", line(128), func(s *settings) *string { return &s.keyLabel }),
	of("ssl_authentication_protocol", "the TLS versions that are accepted; by default 1.2 and 1.3", protocols(), func(s *settings) *[]uint16 { return &s.TLS.Versions }),
	of("accepted_cipher_suites", "the cipher suites that are accepted; by default those that Go holds secure", suites(), func(s *settings) *[]uint16 { return &s.TLS.Suites }),
	of("store_type", "the protocol", choice(mail.IMAP, mail.POP3), func(s *settings) *mail.StoreType { return &s.Store }),
	of("folder", "where messages are saved", path(), func(s *settings) *string { return &s.Folder }),
	of("connection_security", "TLS from the start, TLS after STARTTLS, or clear text", choice(mail.SSLTLS, mail.StartTLS, mail.NoTLS), func(s *settings) *mail.Security { return &s.Security }),
	of("disposition", "what becomes of a saved message on the server; by default KEEP for IMAP and DELETE for POP3", choice(disposition.Dispositions()...), func(s *settings) *disposition.Disposition { return &s.Dispose }),
	of("move_to", "the mailbox that a saved message is moved to, instead of being left where it is; it has to exist; IMAP only", mailbox(), func(s *settings) *string { return &s.MoveTo }),
	of("pull_disposition", "which message is taken; the first is the oldest, the last the newest", pull(), func(s *settings) *disposition.Pull { return &s.Pull }),
	of("match", "which messages are taken; by default all. See docs/filters.md", matching(), func(s *settings) **match.Filter { return &s.Match }),
	of("max_retries", "how often a failed attempt is tried again; 0 or empty for never", orEmpty(number(0, most)), func(s *settings) *int { return &s.Retry.Max }),
	of("retry_interval", "the time between two attempts; 0 or empty for no retry", orEmpty(duration(0, day)), func(s *settings) *time.Duration { return &s.Retry.Interval }),
	of("schedule", "when to poll", schedule(), func(s *settings) *string { return &s.Schedule }),
	of("mailbox", "the mailbox to read; IMAP only", mailbox(), func(s *settings) *string { return &s.Mailbox }),
	of("max_messages", "how many messages one poll takes; 0 for all that match", number(0, most), func(s *settings) *int { return &s.MaxMessages }),
	of("max_message_size", "a larger message is left alone; 0 for no limit", size(), func(s *settings) *int64 { return &s.MaxMessageSize }),
	of("timeout", "the longest silence on the wire", duration(time.Second, day), func(s *settings) *time.Duration { return &s.Timeout }),
	of("poll_timeout", "the bound on one attempt", duration(time.Second, day), func(s *settings) *time.Duration { return &s.PollTimeout }),
	of("back_off", "whether the polls of a connection that keeps failing are spaced out", enabled(), func(s *settings) *bool { return &s.BackOff }),
	of("auth", "how to log in; AUTO is the strongest that server and secret allow",
		choice(mail.AuthAuto, mail.AuthPlain, mail.AuthLogin, mail.AuthCramMD5, mail.AuthScramSHA256, mail.AuthAPOP, mail.AuthXOAuth2, mail.AuthOAuthBearer, mail.AuthExternal),
		func(s *settings) *mail.AuthMethod { return &s.Auth }),
	of("oauth2", "how to get a token instead of a password", oauth2(), func(s *settings) **mail.OAuth2 { return &s.OAuth2 }),
	of("proxy", "what to connect through", through(), func(s *settings) **mail.Proxy { return &s.Proxy }),
	of("ca_file", "roots that are trusted beside the system's and the global ones", certificates(), func(s *settings) *string { return &s.caFile }),
	of("filename", "a Go template for the names of files; docs/filenames.md", template(), func(s *settings) **filename.Template { return &s.Filename }),
	of("format", "how messages are laid out in the folder", choice(mail.EML, mail.Maildir, mail.Attachments), func(s *settings) *mail.Format { return &s.Format }),
	of("keep_original", "with ATTACHMENTS: whether the message itself is kept beside them", enabled(), func(s *settings) *bool { return &s.KeepOriginal }),
	of("without_attachments", "with ATTACHMENTS: whether a message without any is saved as it is, or stays on the server", choice(mail.SaveMessage, mail.SetAside), func(s *settings) *mail.Without { return &s.WithoutAttachments }),
	of("metadata", "whether a JSON file describes each message; docs/metadata.md", boolean(), func(s *settings) *bool { return &s.Metadata }),
	of("notify", "a program that is run once a message is saved", notification(), func(s *settings) **mail.Notify { return &s.Notify }),
	of("file_mode", "the mode of files", mode(0o400), func(s *settings) *fs.FileMode { return &s.FileMode }),
	of("dir_mode", "the mode of directories", mode(0o700), func(s *settings) *fs.FileMode { return &s.DirMode }),
}
