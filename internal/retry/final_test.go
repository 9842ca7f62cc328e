package retry

import (
	"errors"
	"testing"
	"time"
)

// TestAFinalErrorIsNotTriedAgain, and is what the caller gets.
func TestAFinalErrorIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	attempts, err := Policy{Max: 5, Interval: time.Hour}.Do(t.Context(), func(int) error { return Final(enough) }, nil)
	if attempts != 1 || !errors.Is(err, enough) || err.Error() != "enough" {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
