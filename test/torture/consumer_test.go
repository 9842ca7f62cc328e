package torture

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// take takes files out of the folder and counts the messages in them, as a
// consumer does that keeps what it takes somewhere else, removes the file and
// makes that durable. It reports what kept it from going on.
func (p *powerTrial) take() error {
	entries, err := os.ReadDir(p.folder)
	if err != nil {
		return err
	}
	dir, err := os.Open(p.folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(p.folder, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		// A file that comes back, because the power was cut before its removal
		// was durable, is the same delivery.
		if sum := sha256.Sum256(data); !p.unsure[e.Name()] {
			if p.messages[sum]++; p.messages[sum] > 1 {
				p.Errorf("after cut %d, %s comes again", p.Faults, e.Name())
			}
		}
		p.unsure[e.Name()] = true
		if err := dir.Sync(); err != nil {
			return err
		}
		// XFS says so also when the disk is gone; it opens nothing then.
		again, err := os.Open(p.folder)
		if err != nil {
			return err
		}
		again.Close()
		delete(p.unsure, e.Name())
	}
	return nil
}

// consumer takes files as soon as they appear, if it is to, until it is
// stopped or the disk is gone. It outlives a poll that is killed.
func (p *powerTrial) consumer() (stop func()) {
	if !p.consuming {
		return func() {}
	}
	enough, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for {
			last := false
			select {
			case <-enough:
				last = true
			case <-look.C:
			}
			if p.take() != nil || last {
				return // what it did not take is there when the power is back
			}
		}
	}()
	return func() { close(enough); <-stopped }
}

// TestThePowerIsCutWithAConsumer: what was taken out of the folder is not
// delivered again, whatever the disk remembers of it.
func TestThePowerIsCutWithAConsumer(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	kinds := powerDiskKinds()
	if rig.Torture(t) == 0 {
		kinds = []string{"ext2"}
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newPowerTrial(t, d, kind, mail.IMAP, "DELETE")
			p.Experiment += ", with a consumer"
			p.consuming = true
			for began := time.Now(); ; {
				p.atEach("renameat2")
				p.atMoments(4)
				if rig.Torture(t) > 0 {
					p.atEach(syncCalls)
				}
				if t.Failed() || time.Since(began) >= rig.Torture(t) {
					break
				}
			}
			p.verdict()
		})
	}
}

// TestTheDiskOfTheFolderDies while a poll that has its state elsewhere goes
// on: it must not take for durable what is not.
func TestTheDiskOfTheFolderDies(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, kind := range powerDiskKinds()[1:] { // those that can be shut down
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newPowerTrial(t, d, kind, mail.IMAP, "DELETE")
			p.configure(mail.IMAP, filepath.Join(p.site.Dir, "state"))
			p.Experiment = fmt.Sprintf("the disk of the folder dies, %s", kind)
			p.survives = true
			for began := time.Now(); ; {
				p.atEach("renameat2")
				if rig.Torture(t) > 0 {
					p.atEach(syncCalls)
				}
				if t.Failed() || time.Since(began) >= rig.Torture(t) {
					break
				}
			}
			p.verdict()
		})
	}
}
