package evapitest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	kamailiocfg "imcd/kamailio-cfg"
)

var diffBlock = regexp.MustCompile("(?ms)^```diff\n(.*?)^```$")

// ReadmeDiffs are the diffs that kamailio-cfg/README.md shows, in their order: the two
// edits of the stock kamailio.cfg, and the third.
func ReadmeDiffs() ([]string, error) {
	var diffs []string
	for _, m := range diffBlock.FindAllStringSubmatch(kamailiocfg.File(kamailiocfg.Readme), -1) {
		diffs = append(diffs, m[1])
	}
	if len(diffs) != 2 {
		return nil, fmt.Errorf("kamailio-cfg/README.md shows %d diffs, not 2", len(diffs))
	}
	return diffs, nil
}

var patchBlock = regexp.MustCompile("(?ms)^```patch\n(.*?)^```$")

// NativeDiff is the edit for rooms that are group chats in Linphone, as kamailio-cfg/README.md shows it.
func NativeDiff() (string, error) {
	m := patchBlock.FindStringSubmatch(kamailiocfg.File(kamailiocfg.Readme))
	if m == nil {
		return "", errors.New("kamailio-cfg/README.md does not show the edit of IMC_NATIVE")
	}
	return m[1], nil
}

// StockConfig is the kamailio.cfg of Debian's package, or the one that
// IMCD_TEST_STOCK names, with the diffs applied as the README says. It needs patch.
func StockConfig(ctx context.Context, diffs ...string) (string, error) {
	name := cmp.Or(os.Getenv("IMCD_TEST_STOCK"), "/etc/kamailio/kamailio.cfg")
	data, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("the stock configuration of Debian's package: %w", err)
	}
	text := string(data)
	for _, diff := range diffs {
		if text, err = ApplyDiff(ctx, text, diff); err != nil {
			return "", err
		}
	}
	return text, nil
}

// applyDiff applies a unified diff.
func ApplyDiff(ctx context.Context, text, diff string) (string, error) {
	dir, err := os.MkdirTemp("", "imcd-patch-")
	if err != nil {
		return "", fmt.Errorf("directory for patch: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "kamailio.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("file for patch: %w", err)
	}
	cmd := exec.CommandContext(ctx, "patch", "--batch", file)
	cmd.Stdin = strings.NewReader(diff)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("patch: %w\n%s\n%s", err, out, diff)
	}
	patched, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("the patched file: %w", err)
	}
	return string(patched), nil
}
