package phones

import (
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/stack"
)

// binary is the imcd that all tests of this package share, built when the first of
// them asks for it.
var binary = imcdtest.Binary{Build: stack.Build}

func TestMain(m *testing.M) { imcdtest.MainOf(m, &binary) }
