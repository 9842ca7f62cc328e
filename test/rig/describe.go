package rig

import (
	"bytes"
	"fmt"
	"strings"
)

// Describe is what is in a file that should hold a message and does not, in few words:
// equal lines that follow each other, and runs of zero bytes, are counted.
func Describe(data []byte) string {
	const most = 12
	var runs []string
	at := 0
	for len(data) > 0 && len(runs) < most {
		line := data[:min(len(data), 80)]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		if zeros := len(data) - len(bytes.TrimLeft(data, "\x00")); zeros > 0 {
			line = data[:zeros]
		}
		n := 0
		for ; bytes.HasPrefix(data, line) && len(data) > 0; n++ {
			data = data[len(line):]
		}
		text := fmt.Sprintf("%q", line)
		if line[0] == 0 {
			text = fmt.Sprintf("%d zero bytes", len(line))
		}
		runs = append(runs, fmt.Sprintf("at %d: %d x %s", at, n, text))
		at += n * len(line)
	}
	if len(data) > 0 {
		runs = append(runs, fmt.Sprintf("and %d bytes more", len(data)))
	}
	return strings.Join(runs, "; ")
}
