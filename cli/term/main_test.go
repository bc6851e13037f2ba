package term

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // local times in golden files are these
	goleak.VerifyTestMain(m)
}
