// Package mounts polls onto file systems that have no modes, times, hard links or
// synced directories, as network shares and object stores are: on real mounts,
// served by the test through FUSE.
package mounts

import (
	"os"
	"testing"

	"mailpoller/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
