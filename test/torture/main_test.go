// Package torture does to the real binary what docs/reliability.md says it survives: it
// stops it dead, cuts the power of its disk and breaks its host, again and
// again, against a real server. What a run of it came to is a rig.Tally.
package torture

import (
	"os"
	"testing"

	"mailpoller/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
