package demo

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
)

// The sample messages, one directory per account, in the order of their names.
// They are stored with LF, so that they read and merge like any text, and
// served with CRLF, as mail travels.
//
//go:embed messages/*/*.eml
var messageFiles embed.FS

// messages are the sample messages of an account.
func messages(account string) ([][]byte, error) {
	files, err := fs.Glob(messageFiles, "messages/"+account+"/*.eml")
	if err != nil {
		return nil, fmt.Errorf("list messages of %s: %w", account, err)
	}
	all := make([][]byte, len(files))
	for i, file := range files {
		text, err := messageFiles.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		all[i] = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return all, nil
}
