package config

import (
	"fmt"
	"slices"
	"testing"

	"mailpoller/internal/mail"
)

// table is one of the tables of keys, for the documentation and the schema.
type table struct {
	name     string // that of its definition in the schema
	required []string
	rows     []row
}

// row is what a table says of a key.
type row struct {
	name, about, accepts string
	standard             any // the default as it is shown; nil for none
	schema               object
	takes                func(node) bool // whether a file can have this value
}

// tables are all there are, that of the top level first.
func tables() []table {
	return []table{
		{"", nil, rows(topKeys, func() *top { return &top{Config: newConfig("")} })},
		{"log", nil, rows(logKeys, func() *Log { return &newConfig("").Log })},
		{"limits", nil, rows(limitKeys, func() *Limits { return &newConfig("").Limits })},
		{"api_token", []string{"name", "secret"}, rows(apiTokenKeys, func() *APIToken { k := newAPIToken(); return &k })},
		{"tracing", nil, rows(tracingKeys, func() *Tracing { return &Tracing{} })},
		{"key", []string{"label"}, rows(clientKeyKeys, func() *mail.ClientKey { return &mail.ClientKey{} })},
		{"connection", required, rows(connectionKeys, func() *settings { s := newSettings(); return &s })},
		{"oauth2", nil, rows(oauth2Keys, func() *mail.OAuth2 { o := newOAuth2(); return &o })},
		{"notify", []string{"command"}, rows(notifyKeys, func() *mail.Notify { n := newNotify(); return &n })},
		{"proxy", []string{"url"}, rows(proxyKeys, func() *proxySettings { return &proxySettings{} })},
		{"source", nil, rows(sourceKeys, func() *mail.SecretSource { return &mail.SecretSource{} })},
	}
}

// rows are those of a table. What standard makes has the defaults.
func rows[T any](keys []key[T], standard func() *T) []row {
	all := make([]row, len(keys))
	for i, k := range keys {
		all[i] = row{name: k.name, about: k.about, accepts: k.accepts, schema: k.schema(), takes: func(n node) bool {
			if n.empty() && !k.blank {
				return k.name != "name" // which has no default
			}
			l := newLoader()
			return k.set(l, n, standard()) == nil && len(l.faults) == 0
		}}
		switch value := k.show(standard()).(type) {
		case entries: // its keys have a table of their own
		case nil:
		default:
			if fmt.Sprint(value) != "" && !slices.Contains(required, k.name) {
				all[i].standard = value
			}
		}
	}
	return all
}

func named(t *testing.T, name string) table {
	t.Helper()
	for _, table := range tables() {
		if table.name == name {
			return table
		}
	}
	t.Fatalf("there is no table %q", name)
	return table{}
}

func (t table) names() []string {
	all := make([]string, len(t.rows))
	for i, r := range t.rows {
		all[i] = r.name
	}
	return all
}
