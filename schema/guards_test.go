//go:build !unsafe_fence && !unsafe_epoch

package schema

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// TestGuards: the tests of the fence fail without it. Build tags take it away.
func TestGuards(t *testing.T) {
	for tag, test := range map[string]string{"unsafe_fence": "TestSpareTakesOver",
		"unsafe_epoch": "TestFenceWantsEachShard"} {
		ctx := kit.Within(t, 5*time.Minute)
		out, err := exec.CommandContext(ctx, "go", "test", "-count=1", "-tags", tag, "-run", "^"+test+"$",
			".").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--- FAIL: "+test+" ") {
			t.Errorf("%s with %s: %v\n%s", test, tag, err, out)
		}
	}
}
