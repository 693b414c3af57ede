package stack

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build compiles imcd into dir and returns the program's path; with the race
// detector if this program has it. The working directory must be in the module.
func Build(ctx context.Context, dir string) (string, error) { return build(ctx, dir, Race, "") }

// BuildPlain compiles imcd without the race detector, as operators run it: for
// what is about speed or memory.
func BuildPlain(ctx context.Context, dir string) (string, error) { return build(ctx, dir, false, "") }

// BuildUnsafe is BuildPlain with one of imcd's guards taken out, which is named by a build tag. It shows that a
// test can fail.
func BuildUnsafe(tag string) func(ctx context.Context, dir string) (string, error) {
	return func(ctx context.Context, dir string) (string, error) { return build(ctx, dir, false, tag) }
}

func build(ctx context.Context, dir string, race bool, tag string) (string, error) {
	path := filepath.Join(dir, "imcd")
	// Version stamps fail in a checkout that belongs to another user.
	args := []string{"build", "-buildvcs=false", "-tags", tag, "-o", path}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "imcd/cmd/imcd")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build imcd: %w\n%s", err, out)
	}
	return path, nil
}
