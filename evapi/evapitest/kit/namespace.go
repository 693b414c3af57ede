package kit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// InNamespace runs the calling test once more, in namespaces of its own for network, mounts and processes, in which
// nothing outlives it. script is for sh: it prepares them, and ends in exec "$@". env, like NAME=value, is how the
// test knows that it is in there. It needs root, or sudo that asks for nothing; without, the test fails.
func InNamespace(t testing.TB, env, script string) {
	t.Helper()
	args := []string{"unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"env", env, "sh", "-c", script, "sh",
		os.Args[0], "-test.v", "-test.run", "^" + t.Name() + "$", "-test.timeout", "3m"}
	if os.Geteuid() != 0 {
		if err := exec.CommandContext(Context(t), "sudo", "-n", "true").Run(); err != nil {
			t.Fatalf("this needs a network namespace: run it as root, or with sudo that asks for no password: %v", err)
		}
		args = append([]string{"sudo", "-n", "--preserve-env"}, args...)
	}
	out, err := exec.CommandContext(Within(t, 4*time.Minute), args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
