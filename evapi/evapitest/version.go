package evapitest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
)

// KamailioVersion is that of the program that StartKamailio runs by default: 50603 for
// 5.6.3.
func KamailioVersion(ctx context.Context) (int, error) {
	program := cmp.Or(os.Getenv("IMCD_TEST_KAMAILIO"), "kamailio")
	out, err := exec.CommandContext(ctx, program, "-v").Output()
	if err != nil {
		return 0, fmt.Errorf("%s -v: %w", program, err)
	}
	var major, minor, patch int
	if _, err := fmt.Sscanf(string(out), "version: kamailio %d.%d.%d", &major, &minor, &patch); err != nil {
		return 0, fmt.Errorf("%s -v: %w: %q", program, err, out)
	}
	return major*10000 + minor*100 + patch, nil
}
