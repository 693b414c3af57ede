package phones

import (
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
)

// binary is the imcd that all tests of this package share, built when the first of
// them asks for it.
var binary = stacktest.Binary{Build: stack.Build}

func TestMain(m *testing.M) { stacktest.Main(m, &binary) }
