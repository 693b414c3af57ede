//go:build deb

package debpackage

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
)

// box is the Debian in a folder.
type box struct {
	t    *testing.T
	root string
}

func newBox(t *testing.T) *box {
	root := os.Getenv("IMCD_DEB_ROOT")
	if root == "" {
		t.Fatal("IMCD_DEB_ROOT is not set; e2e.sh runs this test")
	}
	return &box{t, root}
}

func (b *box) path(name string) string { return filepath.Join(b.root, name) }

// try runs a command in the box.
func (b *box) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chroot", append([]string{b.root, name}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func (b *box) run(name string, args ...string) string {
	b.t.Helper()
	out, err := b.try(name, args...)
	if err != nil {
		b.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// apt lets apt-get do something without asking; edited configuration is kept.
func (b *box) apt(args ...string) string {
	b.t.Helper()
	return b.run("apt-get", append([]string{"-qq", "-y", "-o", "Dpkg::Options::=--force-confold", "-o",
		"Dpkg::Use-Pty=0"}, args...)...)
}

// add copies a file from outside into the box's /root and returns its name there.
func (b *box) add(file string) string {
	b.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	name := filepath.Join("/root", filepath.Base(file))
	b.write(name, string(text))
	return name
}

func (b *box) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// change rewrites a file as an editor does that keeps owner and mode.
func (b *box) change(name string, edit func(string) string) {
	b.t.Helper()
	text := b.read(name)
	edited := edit(text)
	if edited == text {
		b.t.Fatalf("nothing was changed in %s", name)
	}
	b.write(name, edited)
}

func (b *box) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// exists reports whether a file is there, a link that leads nowhere included.
func (b *box) exists(name string) bool {
	b.t.Helper()
	_, err := os.Lstat(b.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return err == nil
}

// checkOwner compares mode and owner of a file: "640 root:imcd".
func (b *box) checkOwner(name, want string) {
	b.t.Helper()
	if got := strings.TrimSpace(b.run("stat", "-c", "%a %U:%G", name)); got != want {
		b.t.Errorf("%s is %s, want %s", name, got, want)
	}
}

// files are all files of the box, but for those of the kernel.
func (b *box) files() map[string]bool {
	b.t.Helper()
	all := make(map[string]bool)
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, b.root), "/")
		if slices.Contains([]string{"/proc", "/dev", "/sys"}, name) {
			return fs.SkipDir
		}
		all[name] = true
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// service is a program that runs in the box.
type service struct {
	*stack.Child
	out *bytes.Buffer // complete when it has ended
}

// launch starts a program in the box, in the way that its unit says, as far as
// that can be done without systemd: user, group, no capabilities, no new ones.
func (b *box) launch(user string, env []string, command ...string) *service {
	b.t.Helper()
	args := append([]string{b.root, "setpriv", "--reuid", user, "--regid", user, "--init-groups",
		"--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"}, command...)
	s := &service{out: new(bytes.Buffer)}
	child, err := stack.StartChild(stack.Command{Path: "/usr/sbin/chroot", Args: args,
		Env: append(env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"), Out: s.out})
	if err != nil {
		b.t.Fatal(err)
	}
	s.Child = child
	b.t.Cleanup(func() {
		select {
		case <-s.Done():
		default:
			if err := s.Kill(); err != nil {
				b.t.Error(err)
			}
		}
		if b.t.Failed() {
			b.t.Logf("%v:\n%s", command, s.out)
		}
	})
	return s
}

// startUnit starts imcd as its unit says and waits until it says READY=1.
func (b *box) startUnit() *service {
	b.t.Helper()
	unit := readUnit(b.t, b.path("lib/systemd/system/imcd.service"))
	if state := "/var/lib/" + unit["StateDirectory"]; !b.exists(state) {
		b.t.Errorf("%s is missing", state)
	}
	const notify = "/run/imcd-notify"
	_ = os.Remove(b.path(notify))
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: b.path(notify), Net: "unixgram"})
	if err != nil {
		b.t.Fatal(err)
	}
	defer systemd.Close()
	if err := os.Chmod(b.path(notify), 0o666); err != nil {
		b.t.Fatal(err)
	}
	if err := systemd.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	s := b.launch(unit["User"], []string{"NOTIFY_SOCKET=" + notify}, strings.Fields(unit["ExecStart"])...)
	state := make([]byte, 100)
	n, err := systemd.Read(state)
	if err != nil || string(state[:n]) != "READY=1" {
		b.t.Fatalf("imcd said %q %v", state[:n], err)
	}
	return s
}

// halt ends a service as systemd does.
func (b *box) halt(s *service) {
	b.t.Helper()
	if err := s.Stop(15 * time.Second); err != nil && !errors.Is(err, syscall.ESRCH) {
		b.t.Error(err)
	}
}
