package config

import "testing"

// TestTheStateDirectoryOfABrokenFile: a daemon that runs with an older version
// of a file is found, whatever is wrong with the file by now.
func TestTheStateDirectoryOfABrokenFile(t *testing.T) {
	t.Parallel()
	const usual = "/var/lib/poller"
	for text, want := range map[string]string{
		"state_dir: /srv/state\nhots: 1\n":                              "/srv/state", // a problem
		"connections: [\nstate_dir: /srv/state # of this one\n":         "/srv/state", // no YAML
		"a: b: c\nstate_dir: \"/srv/the state\"\n":                      "/srv/the state",
		"a: b: c\nstate_dir: '/srv/state'\n":                            "/srv/state",
		"{\n \"connections\": [,\n \"state_dir\": \"/srv/state\",\n}\n": "/srv/state", // no JSON
		"connections: [\n#state_dir: /srv/state\n":                      usual,
		"connections: [\nstate_dir: elsewhere\n":                        usual,
		"connections: [\nmy_state_dir: /srv/state\n":                    usual,
		"connections: [\n":                                              usual,
		"":                                                              usual,
	} {
		if got := StateDir(write(t, text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := StateDir(t.TempDir() + "/none"); got != usual {
		t.Errorf("without a file: %s", got)
	}
}
