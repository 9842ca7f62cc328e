package rig

import "testing"

func TestDescribe(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"":                                      "",
		"Subject: 1\r\n\r\na\r\na\r\n\x00\x00b": `at 0: 1 x "Subject: 1\r\n"; at 12: 1 x "\r\n"; at 14: 2 x "a\r\n"; at 20: 1 x 2 zero bytes; at 22: 1 x "b"`,
	} {
		if got := Describe([]byte(data)); got != want {
			t.Errorf("%q: %s", data, got)
		}
	}
}
