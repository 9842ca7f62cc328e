// Package e2e runs the real binary against real servers, as an operator would.
package e2e

import (
	"os"
	"testing"

	"mailpoller/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
